"""The demo: a cluster comes up, and the stages of the example are shown one after another, from stuck to balanced.

    make demo          all of it
    make demo-down     remove what it brought up

`story` is what is done, in its order; `screen` is how it looks; `moments` are those of a new pod.
"""

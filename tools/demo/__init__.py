"""The demo: bring up a cluster and show the stages of the example one after another, from sticky to balanced.

    make demo          all of it
    make demo-down     remove what it brought up

`demo_run` runs the stages, `screen` prints them, and `new_pods` measures when new pods become ready and take calls.
"""

"""Faults made on purpose, and the one check that all of them end with.

`rules` and `proxy` are the fault proxy; they run in a pod and import nothing of this project. `between` puts the
proxy between the `programs` and the API server; `processes`, `nodes` and `clock` break the cluster itself, around the
pool of `stage`. `converged` is the check, `lookasides` its view of them; `patched` adds to the deployed operator.
"""

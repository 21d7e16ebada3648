"""Faults made on purpose, and the one check that all of them end with.

`between` puts the fault proxy (tools/fault_proxy) between the `programs` and the API server; `processes`, `nodes` and
`clock` break the cluster itself, around the pool of `stage`. `converged` is the check, `lookasides` its view of them;
`patched` adds to the deployed operator.
"""

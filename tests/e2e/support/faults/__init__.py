"""Fault injection, and the convergence check that every fault test ends with.

`fault_proxy` puts tools/fault_proxy between the `workloads` and the API server. `processes`, `nodes` and `clock` break
the cluster itself, around the pool of `monitored_pool`. `convergence` is the check, and `lookasides` how it queries
them. `operator_patch` patches the deployed operator.
"""

"""Benchmark of the operator at scale: ``python -m bench.operator``, or ``make bench``.

It runs against the test cluster's API server with EndpointSlices that the benchmark writes itself, so that no pod runs.
The operator and the lookaside are processes of this machine; the deployed operator is scaled to zero meanwhile. Numbers
of pools are compared within one run, since absolute times depend on the machine.
"""

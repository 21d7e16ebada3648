"""Benchmark of the operator with many pools: ``python -m bench.operator``, or ``make bench``.

It uses the API server of the test cluster and writes the EndpointSlices itself, so that no pod runs. Operator and
lookaside run as processes on this machine; a deployed operator is scaled to zero meanwhile. Numbers of pools are
compared within one run, because absolute times depend on the machine.
"""

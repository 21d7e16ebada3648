"""Benchmark of the lookaside: ``python -m bench.lookaside``, or ``make bench-lookaside``.

The benchmark writes the EndpointSlices of one pool to the API server of the test cluster. The baseline is a minimal
control plane, go-control-plane fed by client-go (go/baseline), with the same changes in the same run. The clients are
Go programs too (go/streams), each with its own connection.
"""

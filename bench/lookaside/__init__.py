"""Benchmark of the lookaside's streams and answers: ``python -m bench.lookaside``, or ``make bench-lookaside``.

The benchmark writes the EndpointSlices of one pool to the test cluster's API server. In the same run, and on the same
changes, the lookaside is compared with a minimal control plane: go-control-plane's server, fed by client-go
(go/baseline). The clients are in Go as well (go/streams), each with its own connection.
"""

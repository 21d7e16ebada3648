"""Benchmark of starting a lookaside and a client: ``python -m bench.startup``, or ``make bench-start``.

It needs no cluster: `api_server` stands in for one. Each program runs in its own process (`programs`), in alternating
rounds with one that only imports the libraries they are built on.
"""

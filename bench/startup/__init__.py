"""Benchmark of starts of lookaside and client: ``python -m bench.startup``, or ``make bench-start``.

It needs no cluster: `api_server` replaces it. Each program runs in its own process (`programs`), in alternating rounds
with a program that only imports the same libraries.
"""

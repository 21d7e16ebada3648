"""Benchmark of the client library: ``python -m bench.client``, or ``make bench-client``.

It needs no cluster: the backends run in a process on this machine. It measures the CPU time of the client's process
alone, or of a gateway's. Variants run in alternating rounds (`comparison`), because absolute times depend on the
machine.
"""

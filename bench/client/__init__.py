"""Benchmark of the client library: ``python -m bench.client``, or ``make bench-client``.

It needs no cluster: the backends are a process of this machine. It compares the CPU time of the client's process alone,
or of a gateway's, in alternating rounds (`comparison`), since absolute times depend on the machine.
"""

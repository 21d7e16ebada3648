"""Load balancing policies. Pure: no I/O and no clock; times and random sources are arguments.

::

    candidate     what a picker picks from
    subsetting    the backends of a large pool that this client connects to (gRFC A68)
    outliers      backends that fail more than others are ejected (gRFC A50)
    locality      the client's own zone first
    round_robin, random, least_request, weighted_round_robin, consistent_hash
                  the pickers of spec.policy
    ring, hashing the hash ring of consistent_hash (gRFC A42)
    load_report, slow_start
                  weights (gRFC A58, A100)
    penalty       failed calls count as in flight for a while
"""

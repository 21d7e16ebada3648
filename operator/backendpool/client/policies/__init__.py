"""Who gets the next call, and who is in question for it. Pure: no I/O, no clock; moments and chance are handed in.

::

    subsetting    of a large pool, the backends that this client connects to
    outliers      of those, the ones that fail more than others, and are left alone for a while
    locality      of those, the ones that are near
    round_robin, uniform, least_request, weighted_round_robin, consistent_hash
                  whose turn it is
    load_report, slow_start
                  what share a backend gets by weight
    penalty       why one that fails at once does not look idle
"""

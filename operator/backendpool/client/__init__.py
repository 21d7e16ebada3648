"""Calls spread over a pool's backends: where the endpoints come from, who is next, and the connections.

::

    source     the pool's status, by watch -> PoolView (view)
    balancer   PoolView -> one connected channel for each backend; a pick for each call
    picker     whose turn it is
    channels   one backend and its one connection
"""

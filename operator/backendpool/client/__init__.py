"""Calls spread over a pool's backends, through a channel that any stub takes.

::

    connect    all of it, in one line

    target     where the endpoints come from, in a line
    resolvers  what that names -> PoolView
    following  a resolver, followed in the background
    balancer   PoolView -> one connected channel for each backend; a pick for each call
    selection  of those that are connected, who gets the next call
    picker     whose turn it is, by the pool's policy
    policies   the policies, and who is in question at all: pure
    channels   one backend and its one connection

    channel      a grpc.aio.Channel over a balancer: what stubs are given
    calls        the multicallables and calls of gRPC's four forms
    pool_call    one call over the pool: one attempt after the other, as retry decides
    retry        the retry state machine (gRFC A6): pure
    stall_timer  fires for calls that have waited too long
    method       grpc.aio's own multicallable on each backend
    interceptors, intercepted_call
                 interceptors around a call, and around each attempt
    outcome      how a call ended
    service_config
                 retry settings in gRPC's own format
    dispatcher   what all calls of a channel share

    status, metrics
                 what is seen of it: by programs, by Prometheus
"""

from backendpool.api.endpoints import Endpoint, EndpointSet, EndpointState
from backendpool.api.load_balancing import (
    Balancing,
    EmptyPolicy,
    FailurePercentage,
    OutlierDetection,
    Policy,
    Preference,
    SuccessRate,
)
from backendpool.api.pool_view import PoolView
from backendpool.client.channel import PoolChannel
from backendpool.client.connect import connect
from backendpool.client.options import HashKey
from backendpool.client.policies.slow_start import SlowStart
from backendpool.client.pool_call import PoolCall
from backendpool.client.status import BackendStatus, Status

__all__ = [
    "BackendStatus",
    "Balancing",
    "EmptyPolicy",
    "Endpoint",
    "EndpointSet",
    "EndpointState",
    "FailurePercentage",
    "HashKey",
    "OutlierDetection",
    "Policy",
    "PoolCall",
    "PoolChannel",
    "PoolView",
    "Preference",
    "SlowStart",
    "Status",
    "SuccessRate",
    "connect",
]

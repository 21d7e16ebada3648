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
    interception, multicallables, method
                 a callable: its interceptors, its form, and grpc.aio's own callable on each backend
    calls, call_forms
                 a call, as grpc.aio has them
    attempt, attempts, ended, requests, outcome
                 grpc.aio's own call to one backend, and another in its place where it may be repeated
    retry, service_config
                 whether it may
    dispatcher   what all calls of a channel share
    silence      calls that have waited for long

    status, metrics
                 what is seen of it: by programs, by Prometheus
"""

from backendpool.api.endpoints import Endpoint, EndpointSet, EndpointState
from backendpool.api.load_balancing import (
    EmptyPolicy,
    FailurePercentage,
    LoadBalancing,
    OutlierDetection,
    Policy,
    Preference,
    SuccessRate,
)
from backendpool.api.pool import PoolView
from backendpool.client.channel import PoolChannel
from backendpool.client.connect import connect
from backendpool.client.options import HashKey
from backendpool.client.policies.slow_start import SlowStart
from backendpool.client.status import BackendStatus, Status

__all__ = [
    "BackendStatus",
    "EmptyPolicy",
    "Endpoint",
    "EndpointSet",
    "EndpointState",
    "FailurePercentage",
    "HashKey",
    "LoadBalancing",
    "OutlierDetection",
    "Policy",
    "PoolChannel",
    "PoolView",
    "Preference",
    "SlowStart",
    "Status",
    "SuccessRate",
    "connect",
]

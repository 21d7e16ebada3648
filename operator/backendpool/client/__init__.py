"""The client library: a :class:`grpc.aio.Channel` over a pool.

::

    connect      from a target to a channel
    channel      PoolChannel, which any generated stub takes
    target       targets: where the endpoints come from
    options      options that override the pool's spec; the hash key of a call

    From the pool to a pick:

    resolvers    follow a target and report a PoolView at each change
    balancer     PoolView -> one subchannel for each endpoint; a pick for each call
    subchannel   one backend's connection, and its draining
    selection    which subchannels take calls: state, outlier detection, zone, weights
    picker       the picker of a policy
    policies     the policies. Pure

    From a stub to a call:

    interception, multicallables, method
                 a method: its interceptors, its form, and grpc.aio's callable on each backend
    calls, call_forms
                 a call, with the interface of grpc.aio
    attempt, attempts, ended, requests, outcome
                 the attempts of a call, each a call of grpc.aio to one backend
    retry, service_config
                 whether an attempt is retried
    dispatcher   what all calls of a channel share
    silence      stalled calls

    status       a snapshot for programs
    metrics      Prometheus metrics
    tls          credentials for a lookaside
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
from backendpool.client.subchannel import CHANNEL_OPTIONS, Connection
from backendpool.errors import (
    BackendPoolError,
    LookasideError,
    NoBackendError,
    SettingsError,
    SourceError,
    TargetError,
)

__all__ = [
    "CHANNEL_OPTIONS",
    "BackendPoolError",
    "BackendStatus",
    "Connection",
    "EmptyPolicy",
    "Endpoint",
    "EndpointSet",
    "EndpointState",
    "FailurePercentage",
    "HashKey",
    "LoadBalancing",
    "LookasideError",
    "NoBackendError",
    "OutlierDetection",
    "Policy",
    "PoolChannel",
    "PoolView",
    "Preference",
    "SettingsError",
    "SlowStart",
    "SourceError",
    "Status",
    "SuccessRate",
    "TargetError",
    "connect",
]

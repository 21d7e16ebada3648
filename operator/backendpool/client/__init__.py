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
from backendpool.client.pool_call import PoolCall
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
    "PoolCall",
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

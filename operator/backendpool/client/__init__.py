"""A :class:`grpc.aio.Channel` over a pool: each call goes to one of its ready backends.

::

    async with connect("pool:///default/greetserver") as channel:
        stub = GreetServiceStub(channel)
        response = await stub.Greet(request, timeout=1.0)

Only this module and :mod:`.metrics` are public. docs/client.md explains targets, options, retries and errors.
"""

# Modules:
#
# _connect     from a target to a channel
# _channel     PoolChannel, which any generated stub takes
# _target      targets: where the endpoints come from
# _options     options that override the pool's spec; the hash key of a call
#
# From the pool to a pick:
#
# _resolvers   follow a target and report a PoolView at each change
# _balancer    PoolView -> one subchannel for each endpoint; a pick for each call
# _subchannel  one backend's connection, and its draining
# _selection   which subchannels take calls: state, outlier detection, zone, weights
# _picker      the picker of a policy
# _policies    the policies. Pure
#
# From a stub to a call:
#
# _calls       the multicallables and calls of gRPC's four forms
# _pool_call   one call over the pool: one attempt after the other, as retry decides
# _retry       the retry state machine (gRFC A6): pure
# _stall_timer fires for calls that have waited too long
# _method      grpc.aio's own multicallable on each backend
# _interceptors, _intercepted_call
#              interceptors around a call, and around each attempt
# _outcome     how a call ended
# _service_config
#              retry settings in gRPC's own format
# _dispatcher  what all calls of a channel share
#
# _status      a snapshot for programs
# metrics      Prometheus metrics
# _tls         credentials for a lookaside

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
from backendpool.client._channel import PoolChannel
from backendpool.client._connect import connect
from backendpool.client._options import HashKey
from backendpool.client._policies.slow_start import SlowStart
from backendpool.client._pool_call import PoolCall
from backendpool.client._status import BackendStatus, Status
from backendpool.client._subchannel import CHANNEL_OPTIONS, Connection
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

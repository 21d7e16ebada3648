"""One line from a pool to a channel."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import grpc
from grpc.aio import ClientInterceptor

from backendpool.api.load_balancing import OutlierDetection, Policy, Preference
from backendpool.client.balancer import Balancer
from backendpool.client.channel import PoolChannel
from backendpool.client.options import DRAIN_SECONDS, HashKey, Options, chosen
from backendpool.client.policies.slow_start import SlowStart
from backendpool.client.resolvers import Views, source_for
from backendpool.client.resolvers.resolver import Following
from backendpool.client.subchannel import dialer
from backendpool.client.target import parse_target


def connect(
    target: str | Views,
    *,
    policy: Policy | str | None = None,
    hash_key: HashKey | None = None,
    outlier_detection: OutlierDetection | None = None,
    zone: str = "",
    prefer: Preference | str | None = None,
    subset: int = 0,
    slow_start: SlowStart | float = 0.0,
    drain: float = DRAIN_SECONDS,
    idempotent: bool | Collection[str] = False,
    service_config: str | None = None,
    interceptors: Sequence[ClientInterceptor] = (),
    credentials: grpc.ChannelCredentials | None = None,
    options: Sequence[tuple[str, Any]] = (),
    compression: grpc.Compression | None = None,
    lookaside_credentials: grpc.ChannelCredentials | None = None,
) -> PoolChannel:
    """A channel whose calls are spread over the pool that ``target`` names, and follow it as it changes.

    ``target`` is a line (:mod:`~backendpool.client.target`) or an async iterator of endpoint sets. ``policy``,
    ``outlier_detection`` and ``prefer`` take the place of what the pool's author has asked for. ``hash_key`` gives the
    key of a call for consistent hashing, ``zone`` is the client's own. ``subset`` is the number of backends to connect
    to, 0 for all. ``slow_start`` is the window in seconds in which a backend that was just connected to comes to its
    share. ``drain`` says how many seconds calls may take on a backend that left. ``idempotent``, ``service_config`` and
    ``interceptors`` are as :class:`~backendpool.client.channel.PoolChannel` has them.

    Backends are connected to in clear, or with ``credentials``; ``options`` (gRPC's own, which come after ours) and
    ``compression`` are for each of their channels. ``lookaside_credentials`` are for a lookaside that serves over TLS.

    To be called in a running event loop; connecting goes on in the background. Raises
    :class:`~backendpool.errors.TargetError` and :class:`~backendpool.errors.SettingsError` where it is not to be done.
    Where it turns out later that it is not, calls fail with ``UNAVAILABLE`` and say why.
    """
    choices = Options(
        policy=chosen("policy", Policy, policy),
        outliers=outlier_detection,
        prefer=chosen("prefer", Preference, prefer),
        hash_key=hash_key,
        zone=zone,
        subset=subset,
        slow_start=slow_start if isinstance(slow_start, SlowStart) else SlowStart(slow_start),
        drain=drain,
    )
    pool = parse_target(target).pool if isinstance(target, str) else type(target).__name__
    balancer = Balancer(pool, choices, dialer(credentials, options, compression))
    source = source_for(target, balancer.update, credentials=lookaside_credentials)
    following = Following(source, balancer.abandon)
    return PoolChannel(
        balancer, following, interceptors=interceptors, idempotent=idempotent, service_config=service_config
    )

"""``connect``: from a target to a channel."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

import grpc
from grpc.aio import ClientInterceptor

from backendpool.api.load_balancing import OutlierDetection, Policy, Preference
from backendpool.client._balancer import Balancer
from backendpool.client._channel import PoolChannel
from backendpool.client._options import DRAIN_SECONDS, HashKey, Options, chosen
from backendpool.client._policies.slow_start import SlowStart
from backendpool.client._resolvers import Views, resolver_for
from backendpool.client._resolvers.resolver import ResolverTask
from backendpool.client._subchannel import dialer
from backendpool.client._target import LookasideTarget, parse_target
from backendpool.client._validation import check_options
from backendpool.errors import SettingsError


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
    drain_timeout: float = DRAIN_SECONDS,
    idempotent: bool | Collection[str] = False,
    service_config: str | None = None,
    interceptors: Sequence[ClientInterceptor] = (),
    credentials: grpc.ChannelCredentials | None = None,
    options: Sequence[tuple[str, Any]] = (),
    compression: grpc.Compression | None = None,
    lookaside_credentials: grpc.ChannelCredentials | None = None,
) -> PoolChannel:
    """Return a channel that balances calls over the pool of ``target``, and follows the pool as it changes.

    ``target`` is a URI (:mod:`~backendpool.client._target`) or an async iterator of endpoint sets. ``policy``,
    ``outlier_detection`` and ``prefer`` override the pool's spec. ``hash_key`` returns a call's key for consistent
    hashing. ``zone`` is the client's own zone. ``subset`` is the number of backends to connect to, 0 for all.
    ``slow_start`` is the window in seconds in which a newly connected backend ramps up to its share. ``drain_timeout``
    is how many seconds calls may take on a backend that was removed. ``idempotent``, ``service_config`` and
    ``interceptors`` are those of :class:`~backendpool.client._channel.PoolChannel`.

    Connections to backends are plaintext unless ``credentials`` are given; ``options`` (gRPC's, which override ours)
    and ``compression`` apply to each of their channels. ``lookaside_credentials`` are for a lookaside that serves TLS.

    Call it in a running event loop; it connects in the background. Raises :class:`~backendpool.errors.TargetError` and
    :class:`~backendpool.errors.SettingsError` for invalid arguments. If the pool turns out later to be unreachable for
    good, calls fail with ``UNAVAILABLE`` and say why.
    """
    _require_running_loop()
    where = parse_target(target) if isinstance(target, str) else None
    chosen_policy, chosen_preference = chosen("policy", Policy, policy), chosen("prefer", Preference, prefer)
    check_options(
        {
            "policy": chosen_policy,
            "hash_key": hash_key,
            "outlier_detection": outlier_detection,
            "zone": zone,
            "prefer": chosen_preference,
            "subset": subset,
            "slow_start": slow_start,
            "drain_timeout": drain_timeout,
            "idempotent": idempotent,
            "service_config": service_config,
            "interceptors": interceptors,
            "credentials": credentials,
            "options": options,
            "compression": compression,
            "lookaside_credentials": lookaside_credentials,
        },
        lookaside=isinstance(where, LookasideTarget),
    )
    choices = Options(
        policy=chosen_policy,
        outliers=outlier_detection,
        prefer=chosen_preference,
        hash_key=hash_key,
        zone=zone,
        subset=subset,
        slow_start=slow_start if isinstance(slow_start, SlowStart) else SlowStart(slow_start),
        drain_timeout=drain_timeout,
    )
    pool = where.pool if where else type(target).__name__
    balancer = Balancer(pool, choices, dialer(credentials, options, compression))
    resolver = resolver_for(target, balancer.update, credentials=lookaside_credentials)
    return PoolChannel(
        balancer,
        ResolverTask(resolver, balancer.resolver_failed),
        interceptors=interceptors,
        idempotent=idempotent,
        service_config=service_config,
    )


def _require_running_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise SettingsError("connect needs a running event loop: call it in a coroutine") from None

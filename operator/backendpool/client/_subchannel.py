"""A backend's one connection, from the first attempt to connect until its last call is done.

A subchannel connects as soon as the backend is known and stays connected: a call that waits for a handshake is slow,
and one that waits for a dead address fails. Pickers look at :attr:`Subchannel.connection`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Collection, Sequence
from enum import StrEnum
from typing import Any, Final

import grpc
import grpc.aio
from grpc import ChannelConnectivity

from backendpool.api.endpoints import Endpoint
from backendpool.client._policies.candidate import RandomSource
from backendpool.client._policies.penalty import Penalty

CHANNEL_OPTIONS: Final = (
    # Without it, two channels to one address share a connection, and closing one does not close it.
    ("grpc.use_local_subchannel_pool", 1),
    # An address of a pod is to be reached as it is, whatever proxy the environment names.
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config_disable_resolution", 1),
    # A node that died sends no FIN. With keepalive on, gRPC also sets TCP_USER_TIMEOUT to the timeout here
    # (gRFC A18): data that nobody acknowledges for so long ends the connection, and no ping is needed for it.
    # Pings come as seldom as every server allows unasked (gRFC A8), which else would hang up on us.
    ("grpc.keepalive_time_ms", 300_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # An attempt to connect may take 5 s; the pauses between attempts grow from 0.2 s to 5 s (gRPC's
    # connection-backoff document). The default of up to two minutes is for servers far away.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)

AT_ONCE: Final = 10
"""New backends that are connected to without a delay."""

_STAGGER_SECONDS: Final = 0.01
"""Per new backend beyond :data:`AT_ONCE`."""
_MAX_STAGGER_SECONDS: Final = 3.0

_CLOSE_SLACK: Final = 1.0
"""Seconds that a channel may take to close beyond its grace."""


class Connection(StrEnum):
    """State of a backend's connection."""

    CONNECTING = "connecting"
    """The first attempt, or a reconnect after the server closed the connection."""
    CONNECTED = "connected"
    FAILED = "failed"
    """The last attempt failed. Retries go on, and the state stays until one succeeds (gRFC A62)."""


Observer = Callable[["Subchannel", grpc.aio.Call], None]
"""Called when a call of the subchannel is done: its code and trailing metadata can be read without waiting."""


Dial = Callable[[Endpoint], grpc.aio.Channel]
"""Makes the channel to an endpoint."""


def dialer(
    credentials: grpc.ChannelCredentials | None = None,
    options: Sequence[tuple[str, Any]] = (),
    compression: grpc.Compression | None = None,
) -> Dial:
    """Dial in plaintext unless ``credentials`` are given; gRPC's ``options`` override :data:`CHANNEL_OPTIONS`."""
    merged = [*(dict(CHANNEL_OPTIONS) | dict(options)).items()]
    if credentials is None:
        return lambda endpoint: grpc.aio.insecure_channel(target_uri(endpoint), merged, compression)
    given = credentials
    return lambda endpoint: grpc.aio.secure_channel(target_uri(endpoint), given, merged, compression)


PLAINTEXT: Final = dialer()


class Subchannel:
    """A connection to ``endpoint`` that is kept up; ``changed`` is called at each change of ``connection``.

    The first attempt to connect is made after ``delay`` seconds.

    ``in_flight`` counts calls only while there is an ``observer``, since watching a call costs as much as a pick.
    ``calls_started``, ``calls_failed``, ``connections`` and ``ejections`` are always counted. ``connected_at`` is the
    time of the last connect, and ``last_response_at`` that of the last response or, before the first one, of the
    connect; both are timestamps of :func:`time.monotonic`. ``removed`` is True once the subchannel is being closed.

    Create it in a running event loop, and call :meth:`close` when done.
    """

    __slots__ = (
        "_changed",
        "_watcher",
        "calls_failed",
        "calls_started",
        "channel",
        "connected_at",
        "connection",
        "connections",
        "ejections",
        "endpoint",
        "in_flight",
        "last_response_at",
        "observer",
        "penalty",
        "ramp",
        "removed",
        "weight",
    )

    def __init__(
        self, endpoint: Endpoint, changed: Callable[[Subchannel], None], dial: Dial = PLAINTEXT, delay: float = 0.0
    ) -> None:
        self.endpoint = endpoint
        self.in_flight, self.weight, self.ramp = 0, 0.0, 1.0
        self.penalty: Penalty | None = None
        self.calls_started = self.calls_failed = self.connections = self.ejections = 0
        self.removed = False
        self.connection = Connection.CONNECTING
        self.channel = dial(endpoint)
        self.observer: Observer | None = None
        self.last_response_at = self.connected_at = time.monotonic()
        self._changed = changed
        self._watcher = asyncio.create_task(self._watch_connectivity(delay))

    @property
    def identity(self) -> tuple[str, int, str]:
        """The endpoint's identity: address, port and pod UID."""
        return self.endpoint.identity

    @property
    def zone(self) -> str:
        """The endpoint's zone; empty if unknown."""
        return self.endpoint.zone

    @property
    def active(self) -> int:
        """Calls in flight, plus recent failures that count as such (:mod:`~._policies.penalty`)."""
        return self.in_flight if self.penalty is None else self.in_flight + self.penalty.calls(time.monotonic())

    def track(self, call: grpc.aio.Call) -> None:
        """Count ``call`` as in flight until it is done, then call the observer."""
        self.in_flight += 1
        call.add_done_callback(self._call_done)

    def inherit_counters(self, before: Subchannel) -> None:
        """Take over the counters of ``before``, the subchannel that this one replaces."""
        self.calls_started, before.calls_started = before.calls_started, 0
        self.calls_failed, before.calls_failed = before.calls_failed, 0
        self.connections, self.ejections = before.connections, before.ejections

    async def close(self, grace: float) -> None:
        """Close the channel; calls that are still in flight after ``grace`` seconds are cancelled."""
        self.removed = True
        self._watcher.cancel()
        await asyncio.wait([self._watcher])
        await self.channel.close(grace)

    def _call_done(self, call: grpc.aio.Call) -> None:
        self.in_flight -= 1
        if self.observer is not None:
            self.observer(self, call)

    async def _watch_connectivity(self, delay: float) -> None:
        """Keep the channel connected, and ``connection`` up to date."""
        await asyncio.sleep(delay)
        while True:
            state = self.channel.get_state(try_to_connect=True)
            connection = _connection(state, self.connection)
            if connection is not self.connection:
                self.connection = connection
                if connection is Connection.CONNECTED:
                    self.connections += 1
                    self.last_response_at = self.connected_at = time.monotonic()
                self._changed(self)
            await self.channel.wait_for_state_change(state)


def _connection(state: ChannelConnectivity, before: Connection) -> Connection:
    """Map gRPC's state. FAILED lasts until READY, since each retry passes through CONNECTING (gRFC A62)."""
    if state is ChannelConnectivity.READY:
        return Connection.CONNECTED
    if state is ChannelConnectivity.TRANSIENT_FAILURE or before is Connection.FAILED:
        return Connection.FAILED
    return Connection.CONNECTING


def target_uri(endpoint: Endpoint) -> str:
    """Return the endpoint in gRPC's name syntax, with the scheme of a literal address, which needs no resolver."""
    scheme = "ipv6" if ":" in endpoint.address else "ipv4"
    return f"{scheme}:{endpoint.target}"


class DrainingSubchannels:
    """Subchannels that get no new calls: their calls finish, and their counters are kept.

    Create it in a running event loop, and end it by :meth:`aclose`.
    """

    def __init__(self) -> None:
        self._closing: dict[asyncio.Task[None], Subchannel] = {}
        self._calls_started = self._calls_failed = 0  # of those that are closed

    def drain(self, subchannel: Subchannel, grace: float) -> None:
        """Close ``subchannel``; its calls in flight have ``grace`` seconds to finish."""
        task = asyncio.create_task(subchannel.close(grace))
        self._closing[task] = subchannel
        task.add_done_callback(self._closed)

    def totals(self, active: Collection[Subchannel]) -> tuple[int, int]:
        """Return calls started and calls failed, of the ``active`` subchannels and of all that were ever drained."""
        counted = (*active, *self._closing.values())
        started, failed = sum(one.calls_started for one in counted), sum(one.calls_failed for one in counted)
        return self._calls_started + started, self._calls_failed + failed

    async def aclose(self, grace: float) -> None:
        """Wait up to ``grace`` seconds until all are closed, then cancel the calls that are left."""
        if not self._closing:
            return
        _, late = await asyncio.wait(self._closing, timeout=grace + _CLOSE_SLACK)
        channels = [self._closing[task].channel for task in late]
        for task in late:
            task.cancel()
        await asyncio.gather(*(channel.close() for channel in channels))

    def _closed(self, closing: asyncio.Task[None]) -> None:
        subchannel = self._closing.pop(closing)
        self._calls_started += subchannel.calls_started
        self._calls_failed += subchannel.calls_failed


def connect_stagger(count: int, source: RandomSource = random) -> list[float]:
    """Return the seconds before the first connect to each of ``count`` new backends, in random order.

    All but :data:`AT_ONCE` are spread evenly over 10 ms for each of them, up to 3 s, so that the many clients of a
    large pool do not connect to the same backends at once.
    """
    spread = min(max(0, count - AT_ONCE) * _STAGGER_SECONDS, _MAX_STAGGER_SECONDS)
    found = [0.0 if place < AT_ONCE else source.uniform(0.0, spread) for place in range(count)]
    source.shuffle(found)
    return found

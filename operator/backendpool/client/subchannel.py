"""A backend and its one connection, from the first attempt to connect until its last call is done.

A connection is made as soon as the backend is known and is kept up from then on, since a call that has to wait
for a handshake is slow, and one that waits for a dead address fails. Whoever picks looks at ``connection``.
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
from backendpool.client.policies.candidate import RandomSource
from backendpool.client.policies.penalty import Penalty

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
"""Backends that are connected to without a pause."""

_EACH: Final = 0.01
_LONGEST: Final = 3.0

_SLACK: Final = 1.0
"""Seconds that a channel may take to close beyond its grace."""


class Connection(StrEnum):
    """How it stands with a backend's connection."""

    CONNECTING = "connecting"
    """Not up, and not known to fail: for the first time, or again after the server ended it."""
    CONNECTED = "connected"
    FAILED = "failed"
    """The last attempt failed; it is tried again, and stays so until one succeeds."""


Observer = Callable[["Backend", grpc.aio.Call], None]
"""Told that a backend's call is done: its code and trailing metadata are there (:func:`outcome.now`)."""


Dial = Callable[[Endpoint], grpc.aio.Channel]
"""How a backend is connected to."""


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


class Backend:
    """A backend that is kept connected; ``changed`` is told each change of ``connection``.

    It is connected to after ``delay`` seconds. ``under_way`` are its calls under way, and ``observer`` is told how each
    ended: calls are watched only where there is an observer, since that costs as much as a pick. ``picked`` and
    ``failed`` are counted in any case, as are ``connections`` and ``ejections``.

    ``heard_at`` is when it last answered a call, or was connected to, and ``connected_at`` when that was; both by
    :func:`time.monotonic`.

    To be made in a running event loop, and ended by :meth:`close`.
    """

    __slots__ = (
        "_changed",
        "_follower",
        "channel",
        "connected_at",
        "connection",
        "connections",
        "ejections",
        "endpoint",
        "failed",
        "has_left",
        "heard_at",
        "observer",
        "penalty",
        "picked",
        "ramp",
        "under_way",
        "weight",
    )

    def __init__(
        self, endpoint: Endpoint, changed: Callable[[Backend], None], dial: Dial = PLAINTEXT, delay: float = 0.0
    ) -> None:
        self.endpoint = endpoint
        self.under_way, self.weight, self.ramp = 0, 0.0, 1.0
        self.penalty: Penalty | None = None
        self.picked = self.failed = self.connections = self.ejections = 0
        self.has_left = False
        self.connection = Connection.CONNECTING
        self.channel = dial(endpoint)
        self.observer: Observer | None = None
        self.heard_at = self.connected_at = time.monotonic()
        self._changed = changed
        self._follower = asyncio.create_task(self._follow(delay))

    @property
    def identity(self) -> tuple[str, int, str]:
        """What makes it the same backend."""
        return self.endpoint.identity

    @property
    def zone(self) -> str:
        """Where it runs."""
        return self.endpoint.zone

    @property
    def active(self) -> int:
        """Calls under way, and those that count as such (:mod:`~.policies.penalty`)."""
        return self.under_way if self.penalty is None else self.under_way + self.penalty.calls(time.monotonic())

    def begun(self, call: grpc.aio.Call) -> None:
        """Count ``call`` among those under way until it is done, and tell the observer of its end."""
        self.under_way += 1
        call.add_done_callback(self._ended)

    def succeed(self, before: Backend) -> None:
        """Go on with the counts of ``before``, which was connected to until now, and has none of its own any more."""
        self.picked, self.failed, before.picked, before.failed = before.picked, before.failed, 0, 0
        self.connections, self.ejections = before.connections, before.ejections

    async def close(self, grace: float) -> None:
        """Take no new calls, and cancel those under way that are not done after ``grace`` seconds."""
        self.has_left = True
        self._follower.cancel()
        await asyncio.wait([self._follower])
        await self.channel.close(grace)

    def _ended(self, call: grpc.aio.Call) -> None:
        self.under_way -= 1
        if self.observer is not None:
            self.observer(self, call)

    async def _follow(self, delay: float) -> None:
        """Keep the channel from idling, and ``connection`` as the channel has it."""
        await asyncio.sleep(delay)
        while True:
            state = self.channel.get_state(try_to_connect=True)
            connection = _connection(state, self.connection)
            if connection is not self.connection:
                self.connection = connection
                if connection is Connection.CONNECTED:
                    self.connections += 1
                    self.heard_at = self.connected_at = time.monotonic()
                self._changed(self)
            await self.channel.wait_for_state_change(state)


def _connection(state: ChannelConnectivity, before: Connection) -> Connection:
    """A failure lasts until there is a connection, for each retry passes through CONNECTING (gRFC A62)."""
    if state is ChannelConnectivity.READY:
        return Connection.CONNECTED
    if state is ChannelConnectivity.TRANSIENT_FAILURE or before is Connection.FAILED:
        return Connection.FAILED
    return Connection.CONNECTING


def target_uri(endpoint: Endpoint) -> str:
    """The endpoint as gRPC's name syntax has it, with the scheme that says that no resolver need be asked."""
    scheme = "ipv6" if ":" in endpoint.address else "ipv4"
    return f"{scheme}:{endpoint.target}"


class Retiring:
    """To be made in a running event loop, and ended by :meth:`aclose`."""

    def __init__(self) -> None:
        self._closing: dict[asyncio.Task[None], Backend] = {}
        self._picked = self._failed = 0  # by those that are gone

    def retire(self, backend: Backend, grace: float) -> None:
        """Close ``backend``; calls under way have ``grace`` seconds to finish."""
        task = asyncio.create_task(backend.close(grace))
        self._closing[task] = backend
        task.add_done_callback(self._closed)

    def totals(self, there: Collection[Backend]) -> tuple[int, int]:
        """Attempts, and those that failed, of these backends and of all that were retired."""
        counted = (*there, *self._closing.values())
        return self._picked + sum(one.picked for one in counted), self._failed + sum(one.failed for one in counted)

    async def aclose(self, grace: float) -> None:
        """Wait until all are closed, for ``grace`` seconds at most; calls that are not done then are cancelled."""
        if not self._closing:
            return
        _, late = await asyncio.wait(self._closing, timeout=grace + _SLACK)
        channels = [self._closing[task].channel for task in late]
        for task in late:
            task.cancel()
        await asyncio.gather(*(channel.close() for channel in channels))

    def _closed(self, closing: asyncio.Task[None]) -> None:
        backend = self._closing.pop(closing)
        self._picked += backend.picked
        self._failed += backend.failed


def delays(count: int, source: RandomSource = random) -> list[float]:
    """Seconds before the first connection to each of ``count`` new backends, in any order.

    All but :data:`AT_ONCE` are spread evenly over 10 ms for each of them, and over 3 s at most.
    """
    spread = min(max(0, count - AT_ONCE) * _EACH, _LONGEST)
    found = [0.0 if place < AT_ONCE else source.uniform(0.0, spread) for place in range(count)]
    source.shuffle(found)
    return found

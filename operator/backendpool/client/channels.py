"""One backend and its one connection.

A connection is made as soon as the backend is known and is kept up from then on, since a call that has to wait
for a handshake is slow, and one that waits for a dead address fails. Whoever picks looks at ``connection``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, TypeVar, cast

import grpc.aio
from grpc import ChannelConnectivity

from backendpool.endpoints import Endpoint

Request = TypeVar("Request")
Response = TypeVar("Response")

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


class Connection(StrEnum):
    """How it stands with a backend's connection."""

    CONNECTING = "connecting"
    """Not up, and not known to fail: for the first time, or again after the server ended it."""
    CONNECTED = "connected"
    FAILED = "failed"
    """The last attempt failed; it is tried again, and stays so until one succeeds."""


class Backend:
    """A backend that is kept connected; ``changed`` is told each change of ``connection``.

    To be made in a running event loop, and ended by :meth:`close`.
    """

    __slots__ = ("_changed", "_follower", "_heard", "_methods", "channel", "connection", "endpoint")

    def __init__(self, endpoint: Endpoint, changed: Callable[[Backend], None]) -> None:
        self.endpoint = endpoint
        self.connection = Connection.CONNECTING
        self.channel = grpc.aio.insecure_channel(target_uri(endpoint), options=CHANNEL_OPTIONS)
        self._changed = changed
        self._methods: dict[str, Any] = {}
        self._heard = time.monotonic()
        self._follower = asyncio.create_task(self._follow())

    def unary_unary(
        self, method: str, serializer: Callable[[Request], bytes], deserializer: Callable[[bytes], Response]
    ) -> grpc.aio.UnaryUnaryMultiCallable[Request, Response]:
        """The callable for ``method`` (``/package.Service/Method``), made once: it is half the cost of a call."""
        found = self._methods.get(method)
        if found is None:
            found = self._methods[method] = self.channel.unary_unary(method, serializer, deserializer)
        return cast("grpc.aio.UnaryUnaryMultiCallable[Request, Response]", found)

    def heard(self) -> None:
        """It answered a call."""
        self._heard = time.monotonic()

    def silent(self) -> float:
        """Seconds since it answered a call, or was connected to."""
        return time.monotonic() - self._heard

    async def close(self, grace: float) -> None:
        """Take no new calls, and cancel those under way that are not done after ``grace`` seconds."""
        self._follower.cancel()
        await asyncio.wait([self._follower])
        await self.channel.close(grace)

    async def _follow(self) -> None:
        """Keep the channel from idling, and ``connection`` as the channel has it."""
        while True:
            state = self.channel.get_state(try_to_connect=True)
            connection = _connection(state, self.connection)
            if connection is not self.connection:
                self.connection = connection
                self.heard()
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

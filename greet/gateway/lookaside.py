"""Mode lookaside: ask the lookaside for an address before each call, which costs a second round trip."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import grpc.aio
from grpc import ChannelConnectivity, StatusCode

from backendpool.client import CHANNEL_OPTIONS, Endpoint
from backendpool.proto.lookaside.lookaside_pb2 import Request, Response
from backendpool.proto.lookaside.lookaside_pb2_grpc import LookasideStub
from greet.gateway.greeter import ChannelGreeter, LookupFailed
from greet.greet_pb2 import GreetingRequest, GreetingResponse
from greet.settings import GatewaySettings

_LOOKASIDE_OPTIONS: Final = (
    *CHANNEL_OPTIONS,
    # A Service that is deleted and created again gets another address. By default, gRPC waits 30 s to resolve again.
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
)

_MIN_STALL_TIMEOUT: Final = 1.0
"""Seconds. Even a call with a short deadline waits this long before the lookaside counts as stalled."""


class LookasideGreeter:
    """Get an address from the lookaside, then call it; the deadline covers both."""

    def __init__(self, lookaside: Lookaside, connections: Connections) -> None:
        self._lookaside = lookaside
        self._connections = connections

    def unready(self) -> str | None:
        return None

    async def greet(self, request: GreetingRequest, timeout: float) -> GreetingResponse:
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        try:
            address = await self._lookaside.resolve(timeout)
        except grpc.aio.AioRpcError as error:
            raise LookupFailed(error) from error
        return await self._connections.greeter_at(address).greet(request, deadline - clock())


class Lookaside:
    """A client of the lookaside at LB_SVC_NAME and LB_PORT. It reconnects if its connection stalls.

    If a node freezes, connections to it stay open without a response. A new connection to the Service may reach another
    replica of the lookaside, which responds.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._target = f"{settings.lookaside_host}:{settings.lookaside_port}"
        self._request = Request(router=Request.ROUNDROBIN, service=settings.service, namespace=settings.namespace)
        self._connect()

    async def resolve(self, timeout: float) -> str:
        """Return the address for a call within ``timeout`` seconds, or raise :class:`grpc.aio.AioRpcError`."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        while True:
            channel, left = self._channel, deadline - clock()
            stall_timeout = max(left / 2, _MIN_STALL_TIMEOUT)
            asked = asyncio.create_task(self._answer(self._resolve(self._request, timeout=left)))
            try:
                await asyncio.wait([asked], timeout=stall_timeout)
                if not asked.done() and time.monotonic() - self._last_response_at >= stall_timeout:
                    await self._reconnect(channel)
                await asyncio.wait([asked])
            finally:
                asked.cancel()
            # _reconnect closes the channel, which cancels its calls: those are repeated on the new one.
            if not asked.cancelled() or channel is self._channel:
                return asked.result()

    async def aclose(self) -> None:
        """Close the connection and cancel calls in flight."""
        await self._channel.close()

    async def _answer(self, call: grpc.aio.UnaryUnaryCall[Request, Response]) -> str:
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            if error.code() is not StatusCode.DEADLINE_EXCEEDED:
                self._last_response_at = time.monotonic()
            raise
        self._last_response_at = time.monotonic()
        return answer.address

    def _connect(self) -> None:
        self._last_response_at = time.monotonic()
        self._channel = grpc.aio.insecure_channel(self._target, options=_LOOKASIDE_OPTIONS)
        self._resolve: grpc.aio.UnaryUnaryMultiCallable[Request, Response] = LookasideStub(self._channel).Resolve

    async def _reconnect(self, channel: grpc.aio.Channel) -> None:
        """Open another connection and close ``channel``; :meth:`resolve` then repeats its calls on the new one."""
        self._connect()
        await channel.close()


class Connections:
    """Cached connections to backends on ``port``, one for each address that the lookaside returned.

    A connection stays open until it fails. Then its calls have ``grace`` seconds to finish.
    """

    def __init__(self, port: int, grace: float) -> None:
        self._port = port
        self._grace = grace
        self._open: dict[str, tuple[grpc.aio.Channel, ChannelGreeter, asyncio.Task[None]]] = {}
        self._draining: set[asyncio.Task[None]] = set()

    def greeter_at(self, address: str) -> ChannelGreeter:
        """Return the greeter for ``address``, a host without a port; connect if necessary."""
        found = self._open.get(address)
        if found is None:
            # The target has no scheme, so gRPC resolves it: the lookaside may return a host name.
            channel = grpc.aio.insecure_channel(Endpoint(address, self._port).target, options=CHANNEL_OPTIONS)
            watcher = asyncio.create_task(self._drop_when_failed(address, channel))
            found = self._open[address] = (channel, ChannelGreeter(channel), watcher)
        return found[1]

    async def aclose(self) -> None:
        """Close each connection when its calls have finished, or after the grace period."""
        while self._open:
            _, (channel, _, watcher) = self._open.popitem()
            watcher.cancel()
            self._drain(channel)
        await asyncio.gather(*self._draining)

    async def _drop_when_failed(self, address: str, channel: grpc.aio.Channel) -> None:
        """Keep ``channel`` connected and drop it when it fails, so that the next call connects without backoff."""
        while (state := channel.get_state(try_to_connect=True)) is not ChannelConnectivity.TRANSIENT_FAILURE:
            await channel.wait_for_state_change(state)
        del self._open[address]
        self._drain(channel)

    def _drain(self, channel: grpc.aio.Channel) -> None:
        closing = asyncio.create_task(channel.close(self._grace))
        self._draining.add(closing)
        closing.add_done_callback(self._draining.discard)

"""The lookaside names an address for each call: balanced and current, for a second round trip a call."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final

import grpc.aio
from grpc import StatusCode

from backendpool.client.channels import CHANNEL_OPTIONS
from backendpool.lookaside.lookaside_pb2 import Request, Response
from backendpool.lookaside.lookaside_pb2_grpc import LookasideStub
from greet.gateway.greeter import Greeter, LookupFailed, patience
from greet.gateway.modes.channel import ChannelGreeter
from greet.greet_pb2 import GreetingRequest, GreetingResponse
from greet.settings import GatewaySettings

_MAX_CHANNELS: Final = 1000
"""Addresses come and go for ever, and nobody says which are gone: the ones longest unused make room."""


_LOOKASIDE_OPTIONS: Final = (
    *CHANNEL_OPTIONS,
    # A Service that was made anew has another address. By default gRPC asks for it again after half a minute.
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
)


@asynccontextmanager
async def connected(settings: GatewaySettings) -> AsyncIterator[Greeter]:
    """Greet by the lookaside at LB_SVC_NAME and LB_PORT, asked for GRPC_SVC in POD_NAMESPACE."""
    question = Request(router=Request.ROUNDROBIN, service=settings.service, namespace=settings.namespace)
    target = f"{settings.lookaside_host}:{settings.lookaside_port}"
    async with (
        aclosing(_Channels(settings.server_port, settings.grace_seconds)) as channels,
        aclosing(_Lookaside(target, question)) as lookaside,
    ):
        yield LookasideGreeter(lookaside, channels)


class LookasideGreeter:
    """Asks, then calls; both within the call's deadline."""

    def __init__(self, lookaside: _Lookaside, channels: _Channels) -> None:
        self._lookaside = lookaside
        self._channels = channels

    def unready(self) -> str | None:
        return None

    async def greet(self, request: GreetingRequest, timeout: float) -> GreetingResponse:
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        try:
            address = await self._lookaside.resolve(timeout)
        except grpc.aio.AioRpcError as error:
            raise LookupFailed(error) from error
        return await self._channels.to(address).greet(request, deadline - clock())


class _Lookaside:
    """Asked on one connection for as long as it answers anybody there.

    A node that freezes ends no connection, and the lookaside on it may be one of several: another connection to their
    Service may lead to one that answers.
    """

    def __init__(self, target: str, question: Request) -> None:
        self._target = target
        self._question = question
        self._connect()

    async def resolve(self, timeout: float) -> str:
        """The address for a call; raises :class:`grpc.aio.AioRpcError` where there is none within ``timeout``."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        while True:
            channel, left = self._channel, deadline - clock()
            asked = asyncio.create_task(self._answer(self._resolve(self._question, timeout=left)))
            try:
                await asyncio.wait([asked], timeout=patience(left))
                if not asked.done() and self._silent() >= patience(left):
                    await self._leave(channel)
                await asyncio.wait([asked])
            finally:
                asked.cancel()
            # A channel that is closed cancels the calls on it.
            if not asked.cancelled() or channel is self._channel:
                return asked.result()

    async def aclose(self) -> None:
        """Cut off whoever still asks."""
        await self._channel.close()

    async def _answer(self, call: grpc.aio.UnaryUnaryCall[Request, Response]) -> str:
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            if error.code() is not StatusCode.DEADLINE_EXCEEDED:
                self._heard = time.monotonic()
            raise
        self._heard = time.monotonic()
        return answer.address

    def _connect(self) -> None:
        self._heard = time.monotonic()
        self._channel = grpc.aio.insecure_channel(self._target, options=_LOOKASIDE_OPTIONS)
        self._resolve: grpc.aio.UnaryUnaryMultiCallable[Request, Response] = LookasideStub(self._channel).Resolve

    def _silent(self) -> float:
        """Seconds since it answered anybody, or was connected to."""
        return time.monotonic() - self._heard

    async def _leave(self, channel: grpc.aio.Channel) -> None:
        """Connect anew; whoever waits on ``channel`` asks again."""
        self._connect()
        await channel.close()


class _Channels:
    """One channel for each address, kept for the next call to it."""

    def __init__(self, port: int, grace: float) -> None:
        self._port = port
        self._grace = grace
        self._channels: OrderedDict[str, tuple[grpc.aio.Channel, ChannelGreeter]] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    def to(self, address: str) -> ChannelGreeter:
        """The greeter on the channel to ``address``, a host without a port."""
        found = self._channels.get(address)
        if found is None:
            channel = grpc.aio.insecure_channel(_target(address, self._port), options=CHANNEL_OPTIONS)
            found = self._channels[address] = (channel, ChannelGreeter(channel))
            if len(self._channels) > _MAX_CHANNELS:
                self._close(self._channels.popitem(last=False)[1][0])
        self._channels.move_to_end(address)
        return found[1]

    async def aclose(self) -> None:
        """Close all channels once their calls are done, or the grace is over."""
        while self._channels:
            self._close(self._channels.popitem()[1][0])
        if self._closing:
            await asyncio.wait(self._closing)

    def _close(self, channel: grpc.aio.Channel) -> None:
        task = asyncio.create_task(channel.close(self._grace))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _target(address: str, port: int) -> str:
    return f"ipv6:[{address}]:{port}" if ":" in address else f"{address}:{port}"

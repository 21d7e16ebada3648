"""The lookaside names an address for each call: balanced and current, for a second round trip a call."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import grpc.aio

from backendpool.client.channels import CHANNEL_OPTIONS
from backendpool.lookaside.lookaside_pb2 import Request
from backendpool.lookaside.lookaside_pb2_grpc import LookasideStub
from greet.gateway.greeter import Greeter
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
    channels = _Channels(settings.server_port, settings.grace_seconds)
    target = f"{settings.lookaside_host}:{settings.lookaside_port}"
    async with grpc.aio.insecure_channel(target, options=_LOOKASIDE_OPTIONS) as lookaside:
        try:
            yield LookasideGreeter(lookaside, question, channels)
        finally:
            await channels.aclose()


class LookasideGreeter:
    """Asks, then calls; both within the call's deadline."""

    def __init__(self, lookaside: grpc.aio.Channel, question: Request, channels: _Channels) -> None:
        self._lookaside = LookasideStub(lookaside)
        self._question = question
        self._channels = channels

    def unready(self) -> str | None:
        return None

    async def greet(self, request: GreetingRequest, timeout: float) -> GreetingResponse:
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        answer = await self._lookaside.Resolve(self._question, timeout=timeout)
        return await self._channels.to(answer.address).greet(request, deadline - clock())


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

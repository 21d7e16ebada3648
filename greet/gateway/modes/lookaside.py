"""The lookaside names an address for each call: balanced and current, for a second round trip a call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final

import grpc.aio
from grpc import StatusCode

from backendpool.api.endpoints import Endpoint
from backendpool.client.channels import CHANNEL_OPTIONS, Backend, Connection
from backendpool.client.retiring import Retiring
from backendpool.client.stall_timer import stall_timeout
from backendpool.proto.lookaside.lookaside_pb2 import Request, Response
from backendpool.proto.lookaside.lookaside_pb2_grpc import LookasideStub
from greet.gateway.greeter import Greeter, LookupFailed
from greet.gateway.modes.channel import ChannelGreeter
from greet.greet_pb2 import GreetingRequest, GreetingResponse
from greet.settings import GatewaySettings

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
        aclosing(_Backends(settings.server_port, settings.grace_seconds)) as backends,
        aclosing(_Lookaside(target, question)) as lookaside,
    ):
        yield LookasideGreeter(lookaside, backends)


class LookasideGreeter:
    """Asks, then calls; both within the call's deadline."""

    def __init__(self, lookaside: _Lookaside, backends: _Backends) -> None:
        self._lookaside = lookaside
        self._backends = backends

    def unready(self) -> str | None:
        return None

    async def greet(self, request: GreetingRequest, timeout: float) -> GreetingResponse:
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        try:
            address = await self._lookaside.resolve(timeout)
        except grpc.aio.AioRpcError as error:
            raise LookupFailed(error) from error
        return await self._backends.at(address).greet(request, deadline - clock())


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
                await asyncio.wait([asked], timeout=stall_timeout(left))
                if not asked.done() and self._silent() >= stall_timeout(left):
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


class _Backends:
    """A connection to each address that was named, until that cannot be reached: nobody says which are gone."""

    def __init__(self, port: int, grace: float) -> None:
        self._port = port
        self._grace = grace
        self._named: dict[str, tuple[Backend, ChannelGreeter]] = {}
        self._retiring = Retiring()

    def at(self, address: str) -> ChannelGreeter:
        """The greeter at ``address``, a host without a port."""
        found = self._named.get(address)
        if found is None:
            backend = Backend(Endpoint(address, self._port), self._connection_changed, _dial)
            found = self._named[address] = (backend, ChannelGreeter(backend.channel))
        return found[1]

    async def aclose(self) -> None:
        """Close all once their calls are done, or the grace is over."""
        while self._named:
            self._retiring.retire(self._named.popitem()[1][0], self._grace)
        await self._retiring.aclose(self._grace)

    def _connection_changed(self, backend: Backend) -> None:
        address = backend.endpoint.address
        found = self._named.get(address)
        # One that is retired already may still fail, and another may have its address by then.
        if backend.connection is Connection.FAILED and found is not None and found[0] is backend:
            # Who is named again is connected to anew, and at once.
            del self._named[address]
            self._retiring.retire(backend, self._grace)


def _dial(endpoint: Endpoint) -> grpc.aio.Channel:
    """By gRPC's own resolver: a lookaside may name a host."""
    return grpc.aio.insecure_channel(endpoint.target, options=CHANNEL_OPTIONS)

"""Backends for tests: gRPC servers on loopback that answer with their names."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import grpc.aio
from grpc import StatusCode

from backendpool.api.endpoints import Endpoint, EndpointState
from backendpool.client._balancer import Balancer
from backendpool.client._channel import PoolChannel
from backendpool.client._options import Options
from backendpool.client._subchannel import Connection, Subchannel
from tests.fakes.objects import pool_view
from tests.fakes.until import until

LOOPBACK = "127.0.0.1"
METHOD = "/test.Who/Are"


@dataclass
class Pod:
    """A server that answers with its name; while ``held`` is not set, it holds its calls."""

    name: str
    port: int = 0
    held: asyncio.Event | None = None
    called: asyncio.Event = field(default_factory=asyncio.Event)
    peers: set[str] = field(default_factory=set)
    options: ClassVar[tuple[tuple[str, int], ...]] = ()
    _server: grpc.aio.Server | None = None

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(LOOPBACK, self.port, pod_uid=f"uid-{self.name}", pod_name=self.name)

    @property
    def draining(self) -> Endpoint:
        return Endpoint(LOOPBACK, self.port, f"uid-{self.name}", self.name, state=EndpointState.DRAINING)

    async def start(self) -> Self:
        """Listen on a free port, or on the earlier port after a stop."""
        handler: Any = grpc.unary_unary_rpc_method_handler(self._answer)
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0), *self.options])
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Who", {"Are": handler}),))
        self.port = self.listen(self._server)
        await self._server.start()
        return self

    def listen(self, server: grpc.aio.Server) -> int:
        """Listen in plaintext; returns the port."""
        return server.add_insecure_port(f"{LOOPBACK}:{self.port}")

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)

    async def _answer(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        self.peers.add(context.peer())
        self.called.set()
        if self.held is not None:
            await self.held.wait()
        return self.name.encode()


@asynccontextmanager
async def pods(*names: str) -> AsyncIterator[list[Pod]]:
    """Start a pod for each of ``names``."""
    async with AsyncExitStack() as stack:
        started = []
        for name in names:
            pod = await Pod(name).start()
            stack.push_async_callback(pod.stop)
            started.append(pod)
        yield started


@asynccontextmanager
async def balancing(*endpoints: Endpoint, grace: float = 5.0) -> AsyncIterator[Balancer]:
    """Yield a balancer that has tried all ``endpoints``; without endpoints, its pool is unknown."""
    balancer = Balancer("ns/who", Options(drain_timeout=grace))
    try:
        if endpoints:
            balancer.update(pool_view(*endpoints))
            await initialized(balancer)
        yield balancer
    finally:
        await balancer.aclose(0)


async def initialized(balancer: Balancer) -> None:
    await until(lambda: balancer.initialized)


async def call(balancer: Balancer, timeout: float = 5.0) -> str:
    """Return the name of the pod that answered a call."""
    return await ask(await balancer.pick(timeout), timeout)


async def ask(backend: Subchannel, timeout: float = 5.0) -> str:
    """Return the name of the pod behind ``backend``."""
    method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = backend.channel.unary_unary(METHOD)
    return (await method(b"", timeout=timeout)).decode()


@asynccontextmanager
async def dead_endpoint() -> AsyncIterator[Endpoint]:
    """Return an endpoint that refuses connections."""
    with socket.socket() as bound:
        bound.bind((LOOPBACK, 0))  # taken, so that nobody else listens there, and not listened on
        yield Endpoint(LOOPBACK, bound.getsockname()[1], pod_uid="uid-dead", pod_name="dead")


@asynccontextmanager
async def silent_endpoint() -> AsyncIterator[Endpoint]:
    """Yield an endpoint that accepts connections and sends nothing."""
    with socket.create_server((LOOPBACK, 0)) as listening:
        yield Endpoint(LOOPBACK, listening.getsockname()[1], pod_uid="uid-silent", pod_name="silent")


class FailingPod(Pod):
    """A pod that fails its first ``failures`` calls after it has received them."""

    failures = 1
    code = StatusCode.UNAVAILABLE
    calls = 0

    async def _answer(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        self.calls += 1
        if self.calls <= self.failures:
            await context.abort(self.code, "not now")
        return await super()._answer(request, context)


def connected(balancer: Balancer, port: int) -> Subchannel:
    """Make the balancer believe that it is connected to ``port``, until it notices a lost connection."""
    (backend,) = (one for one in balancer.subchannels if one.endpoint.port == port)
    backend.connection = Connection.CONNECTED
    balancer._connection_changed(backend)
    return backend


def unary(channel: PoolChannel) -> Any:
    return channel.unary_unary(METHOD)


def unary_stream(channel: PoolChannel) -> Any:
    return channel.unary_stream(METHOD)


@asynccontextmanager
async def serving(handler: Any) -> AsyncIterator[Endpoint]:
    """Serve METHOD with ``handler``."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Who", {"Are": handler}),))
    async with running(server) as endpoint:
        yield endpoint


@asynccontextmanager
async def running(server: grpc.aio.Server) -> AsyncIterator[Endpoint]:
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    await server.start()
    try:
        yield Endpoint(LOOPBACK, port)
    finally:
        await server.stop(None)

"""Lookaside servers on loopback, scripted or real."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
import grpc.aio

from backendpool.api.pool import PoolView
from backendpool.api.protobuf import message_of
from backendpool.client._target import LookasideTarget
from backendpool.lookaside.topic import Topic
from backendpool.lookaside.watch_service import SERVICE, EncodedSnapshot, WatchServicer
from backendpool.proto.v1.endpoints_pb2 import EndpointSet
from tools.certificates import Authority

LOOPBACK = "127.0.0.1"

Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]
Stream: TypeAlias = Callable[[Context], AsyncIterator[bytes]]
"""What one stream of a scripted lookaside tells."""


def whole(view: PoolView) -> bytes:
    return message_of(view).SerializeToString()


HEARTBEAT = EndpointSet(unchanged=True).SerializeToString()


def tells(*messages: bytes) -> Stream:
    """Send these messages, then nothing."""

    async def stream(context: Context) -> AsyncIterator[bytes]:
        for message in messages:
            yield message
        await asyncio.Event().wait()

    return stream


def ends(*messages: bytes) -> Stream:
    """Send these messages, then end the stream with OK."""

    async def stream(context: Context) -> AsyncIterator[bytes]:
        for message in messages:
            yield message

    return stream


def refuses(code: grpc.StatusCode, details: str = "because", *messages: bytes) -> Stream:
    """Send these messages, then fail."""

    async def stream(context: Context) -> AsyncIterator[bytes]:
        for message in messages:
            yield message
        await context.abort(code, details)

    return stream


@asynccontextmanager
async def scripted(*script: Stream, tls: Authority | None = None) -> AsyncIterator[LookasideTarget]:
    """Serve streams by the script, repeating its last entry; with mutual TLS on request."""
    left = deque(script)

    async def watch(request: bytes, context: Context) -> AsyncIterator[bytes]:
        async for message in (left.popleft() if len(left) > 1 else left[0])(context):
            yield message

    handler: Any = grpc.unary_stream_rpc_method_handler(watch)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Watch": handler}),))
    if tls is None:
        port = server.add_insecure_port(f"{LOOPBACK}:0")
    else:
        chain, key = tls.issue("localhost")
        credentials = grpc.ssl_server_credentials([(key, chain)], tls.certificate, require_client_auth=True)
        port = server.add_secure_port(f"{LOOPBACK}:0", credentials)
    await server.start()
    try:
        yield target(port)
    finally:
        await server.stop(None)


class Replica:
    """The real service without an API server; ``age`` is the age in seconds that it reports."""

    def __init__(self, view: PoolView, *, heartbeat: float = 60.0) -> None:
        self.topic: Topic[EncodedSnapshot] = Topic()
        self.age = 0.0
        self.publish(view)
        self._servicer = WatchServicer("ns", "who", self.topic, lambda: self.age, heartbeat=heartbeat)
        self._server: grpc.aio.Server | None = None

    def publish(self, view: PoolView) -> None:
        self.topic.publish(EncodedSnapshot(view))

    async def start(self, port: int = 0) -> int:
        """Listen; returns the port."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._servicer.register(self._server)
        port = self._server.add_insecure_port(f"{LOOPBACK}:{port}")
        await self._server.start()
        return port

    async def drain(self) -> None:
        """Stop like the lookaside: GOAWAY, and streams that end with OK."""
        self.topic.close_all(0.0)
        await self.stop(5.0)

    async def stop(self, grace: float | None = None) -> None:
        if self._server is not None:
            await self._server.stop(grace)


def target(port: int) -> LookasideTarget:
    return LookasideTarget(LOOPBACK, port, "ns", "who")


class Headless(LookasideTarget):
    """A host with several addresses, independent of DNS."""

    @classmethod
    def of(cls, *ports: int) -> Headless:
        return cls(",".join(f"{LOOPBACK}:{port}" for port in ports), 0, "ns", "who")

    @property
    def uri(self) -> str:
        return f"ipv4:{self.host}"


@asynccontextmanager
async def replicated(view: PoolView) -> AsyncIterator[tuple[LookasideTarget, Replica, Replica]]:
    """Run two replicas behind one name."""
    one, other = Replica(view), Replica(view)
    ports = await one.start(), await other.start()
    try:
        yield Headless.of(*ports), one, other
    finally:
        await one.stop()
        await other.stop()

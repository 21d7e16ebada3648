"""A service with one method per behavior that clients can meet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
from grpc import StatusCode

LOOPBACK = "127.0.0.1"

Context = grpc.aio.ServicerContext[bytes, bytes]


class Service:
    """Records the metadata of calls. Its ``hold`` methods do not respond until ``released`` is set."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.released = asyncio.Event()
        self.ended = asyncio.Event()
        self.metadata: dict[str, str | bytes] = {}
        self.port = 0

    async def echo(self, request: bytes, context: Context) -> bytes:
        self.metadata = dict(context.invocation_metadata() or ())
        await context.send_initial_metadata((("leading", "first"),))
        context.set_trailing_metadata((("trailing", "last"), ("raw-bin", b"\x00\xff")))
        return request

    async def fail(self, request: bytes, context: Context) -> bytes:
        await context.abort(StatusCode.FAILED_PRECONDITION, "not so", (("why", "because"),))

    async def hold(self, request: bytes, context: Context) -> bytes:
        await self._hold()
        return request

    async def count(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield str(number).encode()

    async def count_and_fail(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        async for number in self.count(request, context):
            yield number
        await context.abort(StatusCode.DATA_LOSS, "no more")

    async def one_and_hold(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        yield request
        await self._hold()

    async def join(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        return b",".join([request async for request in requests])

    async def first(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        return await anext(requests)

    async def mirror(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    async def _hold(self) -> None:
        self.entered.set()
        try:
            await self.released.wait()
        finally:
            self.ended.set()

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[None]:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("oracle.All", self._handlers()),))
        self.port = server.add_insecure_port(f"{LOOPBACK}:{port}")
        await server.start()
        try:
            yield
        finally:
            await server.stop(None)

    def _handlers(self) -> dict[str, Any]:
        unary_unary: Any = grpc.unary_unary_rpc_method_handler
        unary_stream: Any = grpc.unary_stream_rpc_method_handler
        stream_unary: Any = grpc.stream_unary_rpc_method_handler
        stream_stream: Any = grpc.stream_stream_rpc_method_handler
        return {
            "Echo": unary_unary(self.echo),
            "Fail": unary_unary(self.fail),
            "Hold": unary_unary(self.hold),
            "Count": unary_stream(self.count),
            "CountAndFail": unary_stream(self.count_and_fail),
            "OneAndHold": unary_stream(self.one_and_hold),
            "Join": stream_unary(self.join),
            "First": stream_unary(self.first),
            "Mirror": stream_stream(self.mirror),
        }


class Stub:
    """The methods of :class:`Service`, as in a generated stub."""

    def __init__(self, channel: Any) -> None:
        def made(form: str, name: str) -> Any:
            return getattr(channel, form)(f"/oracle.All/{name}", bytes, bytes, _registered_method=True)

        self.echo = made("unary_unary", "Echo")
        self.fail = made("unary_unary", "Fail")
        self.hold = made("unary_unary", "Hold")
        self.missing = made("unary_unary", "Missing")
        self.count = made("unary_stream", "Count")
        self.count_and_fail = made("unary_stream", "CountAndFail")
        self.one_and_hold = made("unary_stream", "OneAndHold")
        self.join = made("stream_unary", "Join")
        self.first = made("stream_unary", "First")
        self.mirror = made("stream_stream", "Mirror")

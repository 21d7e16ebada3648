"""Topics with many streams over real connections: no stream delays another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest

from backendpool.lookaside.topic import Topic
from tests.fakes.until import until

LARGE = b"x" * 1_000_000
CALL = "/test.Topic/Subscribe"
Stream = grpc.aio.UnaryStreamCall[bytes, bytes]
Context = grpc.aio.ServicerContext[bytes, bytes]


@asynccontextmanager
async def serving(topic: Topic[bytes]) -> AsyncIterator[str]:
    """Serve streams that subscribe to ``topic``; yields the address."""

    async def subscribe(_: bytes, context: Context) -> None:
        async with topic.subscribe(context) as subscriber:
            while not subscriber.closing:
                await subscriber.wait()
                if topic.latest and not subscriber.closing:
                    await subscriber.send(topic.latest)

    server = grpc.aio.server()
    handler: Any = grpc.unary_stream_rpc_method_handler(subscribe)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Topic", {"Subscribe": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@asynccontextmanager
async def stream(address: str) -> AsyncIterator[Stream]:
    """Open a stream over a new connection."""
    async with grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(CALL)
        yield call(b"")


async def read_until(call: Stream, last: bytes) -> int:
    """Read until a message ends with ``last``; return the number of messages before it."""
    async with asyncio.timeout(10):
        before = 0
        while True:
            message = await call.read()
            assert isinstance(message, bytes), "the stream ended"
            if message.endswith(last):
                return before
            before += 1


async def test_slow_stream_skips_to_the_latest() -> None:
    """A slow stream gets the latest item; older ones are not queued for it."""
    topic: Topic[bytes] = Topic()
    topic.publish(b"first")
    async with serving(topic) as address, stream(address) as call:
        await read_until(call, b"first")
        for n in range(100):
            topic.publish(LARGE + b"%d." % n)
            await asyncio.sleep(0.001)
        assert await read_until(call, b"99.") < 50


async def test_stuck_stream_is_aborted_and_delays_no_other() -> None:
    """A stream whose client does not read is aborted after the timeout and delays no other."""
    topic: Topic[bytes] = Topic(send_timeout=0.3)
    async with serving(topic) as address, stream(address) as stuck, stream(address) as good:
        topic.publish(b"first")
        await read_until(stuck, b"first")
        await read_until(good, b"first")
        assert len(topic) == 2
        for n in range(20):
            topic.publish(LARGE + b"%d." % n)
            await read_until(good, b"%d." % n)
            await asyncio.sleep(0.05)
        assert len(topic) == 1
        with pytest.raises(grpc.aio.AioRpcError, match=r"the client read nothing for 0\.3 s: read every") as refused:
            await read_until(stuck, b"19.")
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_cancelled_stream_unsubscribes() -> None:
    """When a client cancels or disconnects, its subscription ends."""
    topic: Topic[bytes] = Topic()
    topic.publish(b"first")
    async with serving(topic) as address:
        async with stream(address) as call:
            await read_until(call, b"first")
            call.cancel()
        await until(lambda: not len(topic))


async def test_closed_streams_end_spread_out_and_with_status_ok() -> None:
    """close_all ends each stream with status OK at a random moment."""
    topic: Topic[bytes] = Topic()
    topic.publish(b"first")
    received: list[int] = []
    ends: list[float] = []

    async def follow(address: str) -> None:
        async with stream(address) as call:
            received.append(await read_until(call, b"first"))
            assert await call.read() is grpc.aio.EOF
            ends.append(asyncio.get_running_loop().time())
            assert await call.code() is grpc.StatusCode.OK

    async with serving(topic) as address, asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(follow(address))
        await until(lambda: len(received) >= 20)
        topic.close_all(0.5)
    assert max(ends) - min(ends) > 0.1

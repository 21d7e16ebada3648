"""Many streams of one broadcast, over real connections: none is told at the cost of another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest

from backendpool.lookaside.topic import Broadcast
from tests.fakes.until import until

LARGE = b"x" * 1_000_000
CALL = "/test.Telling/Tell"
Stream = grpc.aio.UnaryStreamCall[bytes, bytes]
Context = grpc.aio.ServicerContext[bytes, bytes]


@asynccontextmanager
async def telling(broadcast: Broadcast[bytes]) -> AsyncIterator[str]:
    """A server whose streams are told what is published; gives its address."""

    async def tell(_: bytes, context: Context) -> None:
        async with broadcast.follower(context) as follower:
            while not follower.leaving:
                await follower.woken()
                if broadcast.latest and not follower.leaving:
                    await follower.tell(broadcast.latest)

    server = grpc.aio.server()
    handler: Any = grpc.unary_stream_rpc_method_handler(tell)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Telling", {"Tell": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@asynccontextmanager
async def stream(address: str) -> AsyncIterator[Stream]:
    """A stream over a connection of its own."""
    async with grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(CALL)
        yield call(b"")


async def until_told(call: Stream, last: bytes) -> int:
    """Read until the message ends so; how many came before it."""
    async with asyncio.timeout(10):
        before = 0
        while True:
            message = await call.read()
            assert isinstance(message, bytes), "the stream ended"
            if message.endswith(last):
                return before
            before += 1


async def test_slow_stream_misses_what_is_no_longer_so() -> None:
    """It is told the latest, not all that was: nothing is queued for it."""
    broadcast: Broadcast[bytes] = Broadcast()
    broadcast.publish(b"first")
    async with telling(broadcast) as address, stream(address) as call:
        await until_told(call, b"first")
        for n in range(100):
            broadcast.publish(LARGE + b"%d." % n)
            await asyncio.sleep(0.001)
        assert await until_told(call, b"99.") < 50


async def test_stuck_stream_is_given_up_and_delays_nobody() -> None:
    """One message waits for it; then it is no follower any more, and others never notice."""
    broadcast: Broadcast[bytes] = Broadcast(patience=0.3)
    async with telling(broadcast) as address, stream(address) as stuck, stream(address) as good:
        broadcast.publish(b"first")
        await until_told(stuck, b"first")
        await until_told(good, b"first")
        assert len(broadcast) == 2
        for n in range(20):
            broadcast.publish(LARGE + b"%d." % n)
            await until_told(good, b"%d." % n)
            await asyncio.sleep(0.05)
        assert len(broadcast) == 1
        with pytest.raises(grpc.aio.AioRpcError, match=r"nothing was read for 0\.3 s: read what comes") as refused:
            await until_told(stuck, b"19.")
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_stream_that_goes_follows_no_more() -> None:
    """A client that cancels, or whose connection ends, leaves nothing behind."""
    broadcast: Broadcast[bytes] = Broadcast()
    broadcast.publish(b"first")
    async with telling(broadcast) as address:
        async with stream(address) as call:
            await until_told(call, b"first")
            call.cancel()
        await until(lambda: not len(broadcast))


async def test_disbanded_streams_end_spread_out_and_in_good_order() -> None:
    """Asked to move, clients see the end of the stream and no error, each at a moment of its own."""
    broadcast: Broadcast[bytes] = Broadcast()
    broadcast.publish(b"first")
    told: list[int] = []
    ends: list[float] = []

    async def follow(address: str) -> None:
        async with stream(address) as call:
            told.append(await until_told(call, b"first"))
            assert await call.read() is grpc.aio.EOF
            ends.append(asyncio.get_running_loop().time())
            assert await call.code() is grpc.StatusCode.OK

    async with telling(broadcast) as address, asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(follow(address))
        await until(lambda: len(told) >= 20)
        broadcast.disband(0.5)
    assert max(ends) - min(ends) > 0.1

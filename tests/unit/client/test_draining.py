"""Removed backends: their calls may finish, and their counters are kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError

from backendpool.client import PoolChannel, connect
from backendpool.errors import NoBackendError
from backendpool.testing import FakePool
from tests.unit.client.pods import METHOD, Pod, pods

pytestmark = pytest.mark.usefixtures("instrumentation")


@pytest.fixture
async def held() -> AsyncIterator[Pod]:
    """A backend that does not answer until its ``held`` is set."""
    async with pods("held") as (pod,):
        pod.held = asyncio.Event()
        yield pod
        pod.held.set()


@pytest.fixture
def pool(held: Pod) -> FakePool:
    pool = FakePool()
    pool.set([held.endpoint])
    return pool


class Endless:
    """A service that sends one response and then nothing."""

    def __init__(self, form: str) -> None:
        self._form = form
        self.called = 0

    def __call__(self, server: grpc.aio.Server) -> None:
        handler: Any = getattr(grpc, f"{self._form}_rpc_method_handler")(self._answer)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Who", {"Are": handler}),))

    async def _answer(self, request: Any, context: grpc.aio.ServicerContext[bytes, bytes]) -> AsyncIterator[bytes]:
        self.called += 1
        yield b"one"
        await asyncio.Event().wait()


async def under_way(channel: PoolChannel, pod: Pod) -> asyncio.Task[bytes]:
    who: Any = channel.unary_unary(METHOD)

    async def call() -> bytes:
        answer: bytes = await who(b"", timeout=30)
        return answer

    task = asyncio.create_task(call())
    await pod.called.wait()
    return task


async def test_call_within_the_grace_is_answered(held: Pod, pool: FakePool) -> None:
    """A removed backend answers its calls in flight within the grace."""
    async with connect(pool, drain_timeout=30) as channel:
        task = await under_way(channel, held)
        pool.set([])
        await pool.wait_until_connected(channel)
        assert held.held is not None
        held.held.set()
        assert await task == b"held"


async def test_call_cut_by_the_end_of_the_grace_is_unavailable(held: Pod, pool: FakePool) -> None:
    """A call that is cut at the end of the grace fails with UNAVAILABLE and the reason."""
    async with connect(pool, drain_timeout=0.05) as channel:
        await pool.wait_until_connected(channel)
        task = await under_way(channel, held)
        pool.set([])
        with pytest.raises(AioRpcError) as raised:
            await task
        assert raised.value.code() is StatusCode.UNAVAILABLE
        assert isinstance(raised.value, NoBackendError)
        assert str(raised.value) == "the backend was removed before it answered"


async def test_call_that_was_cut_says_so_by_all_that_it_tells(held: Pod, pool: FakePool) -> None:
    """A call that was cut has code, details and callbacks of an error, and is not cancelled."""
    async with connect(pool, drain_timeout=0.05) as channel:
        await pool.wait_until_connected(channel)
        who: Any = channel.unary_unary(METHOD)
        call = who(b"", timeout=30)
        told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        call.add_done_callback(told.set_result)
        await held.called.wait()
        pool.set([])
        assert await asyncio.wait_for(told, 10) is call
        assert await call.code() is StatusCode.UNAVAILABLE
        assert await call.details() == "the backend was removed before it answered"
        assert (call.done(), call.cancelled()) == (True, False)


async def test_idempotent_call_cut_by_the_end_of_the_grace_is_repeated(held: Pod, pool: FakePool) -> None:
    """An idempotent call that is cut is retried on another backend."""
    async with pods("other") as (other,), connect(pool, drain_timeout=0.05, idempotent=True) as channel:
        task = await under_way(channel, held)
        pool.set([other.endpoint])
        assert await task == b"other"


@pytest.mark.parametrize("by_reading", [False, True])
@pytest.mark.parametrize("form", ["unary_stream", "stream_stream"])
async def test_stream_cut_by_the_end_of_the_grace_is_unavailable(form: str, by_reading: bool) -> None:
    """A stream that is cut fails with UNAVAILABLE, and is not retried after its first response."""
    servers = Endless(form)
    async with FakePool(servers, count=1) as pool, connect(pool, drain_timeout=0.05, idempotent=True) as channel:
        call: Any = getattr(channel, form)(METHOD)(b"" if form == "unary_stream" else iter([b""]))
        next_answer = call.read if by_reading else aiter(call).__anext__
        assert await next_answer() == b"one"
        pool.set([])
        with pytest.raises(AioRpcError) as raised:
            await next_answer()
        assert raised.value.code() is await call.code() is StatusCode.UNAVAILABLE
    assert servers.called == 1


async def test_call_that_its_caller_cancelled_is_cancelled(held: Pod, pool: FakePool) -> None:
    """A call that its caller cancels is cancelled, also on a removed backend."""
    async with connect(pool, drain_timeout=30) as channel:
        task = await under_way(channel, held)
        pool.set([])
        await pool.wait_until_connected(channel)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_stream_that_its_caller_cancelled_is_cancelled() -> None:
    """The same holds for a stream."""
    async with FakePool(Endless("unary_stream"), count=1) as pool, connect(pool, drain_timeout=30) as channel:
        begin: Any = channel.unary_stream(METHOD)
        call = begin(b"")
        answers = aiter(call)
        await anext(answers)
        pool.set([])
        await pool.wait_until_connected(channel)
        waiting = asyncio.ensure_future(answers.__anext__())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await call.code() is StatusCode.CANCELLED


async def test_counts_outlive_backends(pool: FakePool, held: Pod) -> None:
    """The totals include removed backends, while they drain and afterwards."""
    assert held.held is not None
    held.held.set()
    async with pods("b") as (b,), connect(pool, drain_timeout=0) as channel:
        who: Any = channel.unary_unary(METHOD)
        for _ in range(3):
            await who(b"", timeout=5)
        pool.set([b.endpoint])
        await pool.wait_until_connected(channel)
        assert channel.status().calls_started == 3
        await who(b"", timeout=5)
        status = channel.status()
        assert (status.calls_started, status.calls_failed) == (4, 0)
        assert [backend.calls_started for backend in status.backends] == [1]
    assert channel.status().calls_started == 4

"""Stalled calls reconnect a backend that does not respond (docs/adr/0005)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError

from backendpool.client import PoolCall, PoolChannel, connect
from backendpool.testing import FakePool
from tests.unit.client.pods import METHOD, Pod, pods

TIMEOUT = 2.0
"""Seconds of a call's timeout, half of which it waits until it counts as stalled."""

pytestmark = pytest.mark.usefixtures("instrumentation")


@pytest.fixture
async def unresponsive() -> AsyncIterator[Pod]:
    """A backend that answers nobody until its ``held`` is set."""
    async with pods("unresponsive") as (pod,):
        pod.held = asyncio.Event()
        yield pod
        pod.held.set()


def listing(*listed: Pod) -> FakePool:
    pool = FakePool()
    pool.set(pod.endpoint for pod in listed)
    return pool


def call(channel: PoolChannel, timeout: float = TIMEOUT) -> Any:
    who: Any = channel.unary_unary(METHOD)
    return who(b"", timeout=timeout)


def connections(channel: PoolChannel) -> set[int]:
    return {id(backend.channel) for backend in channel._balancer.subchannels}


async def left(channel: PoolChannel) -> None:
    """Wait until the one backend is being reconnected."""
    before = connections(channel)
    async with asyncio.timeout(10):
        while connections(channel) == before:
            await channel.wait_for_change()


async def test_unresponsive_backend_is_reconnected_and_may_still_answer(unresponsive: Pod) -> None:
    """A stalled call goes on, and is answered on the old connection once the backend responds again."""
    pool = listing(unresponsive)
    async with connect(pool) as channel:
        await pool.wait_until_connected(channel)
        leaving = asyncio.create_task(left(channel))
        under_way = asyncio.ensure_future(call(channel, timeout=20 * TIMEOUT))
        await unresponsive.called.wait()
        short = asyncio.ensure_future(call(channel))
        await leaving
        assert not under_way.done()
        assert not short.done()
        assert unresponsive.held is not None
        unresponsive.held.set()
        assert {await under_way, await short} == {b"unresponsive"}
        assert await call(channel) == b"unresponsive"
        assert len(unresponsive.peers) == 2


async def test_counts_go_on_over_a_new_connection(unresponsive: Pod) -> None:
    """A reconnected backend keeps its counts, and the totals count no attempt twice."""
    pool = listing(unresponsive)
    async with connect(pool) as channel:
        await pool.wait_until_connected(channel)
        leaving = asyncio.create_task(left(channel))
        under_way = asyncio.ensure_future(call(channel))
        await leaving
        await pool.wait_until_connected(channel)
        status = channel.status()
        assert [(backend.calls_started, backend.connections) for backend in status.backends] == [(1, 2)]
        assert unresponsive.held is not None
        unresponsive.held.set()
        assert await under_way == b"unresponsive"
        assert channel.status().calls_started == 1


async def test_on_stall_runs_the_callback_with_the_call(unresponsive: Pod) -> None:
    """Once, if half of the timeout is over; not for a call that is answered before."""
    pool = listing(unresponsive)
    async with connect(pool) as channel:
        await pool.wait_until_connected(channel)
        stalled: list[PoolCall] = []
        slow = call(channel)
        answer = asyncio.ensure_future(slow)
        assert isinstance(slow, PoolCall)
        slow.on_stall(stalled.append)
        await left(channel)
        assert stalled == [slow]
        assert unresponsive.held is not None
        unresponsive.held.set()
        assert await answer == b"unresponsive"
        quick = call(channel)
        quick.on_stall(stalled.append)
        assert await quick == b"unresponsive"
        await asyncio.sleep(TIMEOUT / 2 + 0.2)
        assert stalled == [slow]


async def test_backend_that_answers_others_is_not_reconnected(unresponsive: Pod) -> None:
    """One slow call does not make a backend unresponsive that answers others."""
    pool = listing(unresponsive)
    async with connect(pool) as channel:
        await pool.wait_until_connected(channel)
        before = connections(channel)
        slow = asyncio.ensure_future(call(channel))
        await unresponsive.called.wait()
        unresponsive.held, held = None, unresponsive.held
        assert await call(channel) == b"unresponsive"
        unresponsive.held = held
        with pytest.raises(AioRpcError):
            await slow
        assert connections(channel) == before


async def test_cancelled_call_does_not_stall(unresponsive: Pod) -> None:
    """A call that was cancelled before half of its timeout was over does not reconnect its backend."""
    pool = listing(unresponsive)
    async with connect(pool) as channel:
        await pool.wait_until_connected(channel)
        before = connections(channel)
        given_up = call(channel)
        waiting = asyncio.ensure_future(given_up.code())
        await unresponsive.called.wait()
        given_up.cancel()
        assert await waiting is StatusCode.CANCELLED
        await asyncio.sleep(TIMEOUT / 2 + 0.1)
        assert connections(channel) == before


async def test_deadline_exceeded_is_not_retried(unresponsive: Pod) -> None:
    """No time is left for another attempt, even of an idempotent call."""
    async with pods("other") as (other,):
        pool = listing(unresponsive, other)
        async with connect(pool, idempotent=True) as channel:
            await pool.wait_until_connected(channel)
            calls = [call(channel, timeout=0.2) for _ in range(2)]
            codes = await asyncio.gather(*(one.code() for one in calls))
            assert sorted(codes, key=str) == [StatusCode.DEADLINE_EXCEEDED, StatusCode.OK]
            status = channel.status()
            assert (status.calls_started, status.calls_failed) == (2, 1)

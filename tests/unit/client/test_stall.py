"""A backend that answers nobody is left, by what its calls tell (docs/adr/0005)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError

from backendpool.client import PoolChannel, connect
from backendpool.testing import FakePool
from tests.unit.client.pods import METHOD, Pod, pods

PATIENT = 2.0
"""Seconds of a call's time, half of which it waits before it takes silence for what it is."""

pytestmark = pytest.mark.usefixtures("instrumentation")


@pytest.fixture
async def silent() -> AsyncIterator[Pod]:
    """A backend that answers nobody until its ``held`` is set."""
    async with pods("silent") as (pod,):
        pod.held = asyncio.Event()
        yield pod
        pod.held.set()


def listing(*listed: Pod) -> FakePool:
    pool = FakePool()
    pool.set(pod.endpoint for pod in listed)
    return pool


def call(channel: PoolChannel, timeout: float = PATIENT) -> Any:
    who: Any = channel.unary_unary(METHOD)
    return who(b"", timeout=timeout)


def connections(channel: PoolChannel) -> set[int]:
    return {id(backend.channel) for backend in channel._balancer.backends}


async def left(channel: PoolChannel) -> None:
    """Until the one backend was given up, and another connection to it is being made in its place."""
    before = connections(channel)
    async with asyncio.timeout(10):
        while connections(channel) == before:
            await channel.change()


async def test_silent_backend_is_left_and_may_still_answer(silent: Pod) -> None:
    """It is connected to anew, and the call that waits there is answered when it speaks again."""
    pool = listing(silent)
    async with connect(pool) as channel:
        await pool.tried_by(channel)
        leaving = asyncio.create_task(left(channel))
        under_way = asyncio.ensure_future(call(channel, timeout=20 * PATIENT))
        await silent.called.wait()
        short = asyncio.ensure_future(call(channel))
        await leaving
        assert not under_way.done()
        assert not short.done()
        assert silent.held is not None
        silent.held.set()
        assert {await under_way, await short} == {b"silent"}
        assert await call(channel) == b"silent"
        assert len(silent.peers) == 2


async def test_counts_go_on_over_a_new_connection(silent: Pod) -> None:
    """It is the same backend; and of all backends, no attempt is counted twice."""
    pool = listing(silent)
    async with connect(pool) as channel:
        await pool.tried_by(channel)
        leaving = asyncio.create_task(left(channel))
        under_way = asyncio.ensure_future(call(channel))
        await leaving
        await pool.tried_by(channel)
        status = channel.status()
        assert [(backend.picked, backend.connections) for backend in status.backends] == [(1, 2)]
        assert silent.held is not None
        silent.held.set()
        assert await under_way == b"silent"
        assert channel.status().picked == 1


async def test_backend_that_answers_others_is_not_left(silent: Pod) -> None:
    """A call that takes its time says nothing of a backend that speaks: more connections would make it no quicker."""
    pool = listing(silent)
    async with connect(pool) as channel:
        await pool.tried_by(channel)
        before = connections(channel)
        slow = asyncio.ensure_future(call(channel))
        await silent.called.wait()
        silent.held, held = None, silent.held
        assert await call(channel) == b"silent"
        silent.held = held
        with pytest.raises(AioRpcError):
            await slow
        assert connections(channel) == before


async def test_call_that_is_over_suspects_nobody(silent: Pod) -> None:
    """One that was cancelled before half of its time was over does not have its backend left."""
    pool = listing(silent)
    async with connect(pool) as channel:
        await pool.tried_by(channel)
        before = connections(channel)
        given_up = call(channel)
        waiting = asyncio.ensure_future(given_up.code())
        await silent.called.wait()
        given_up.cancel()
        assert await waiting is StatusCode.CANCELLED
        await asyncio.sleep(PATIENT / 2 + 0.1)
        assert connections(channel) == before


async def test_deadline_is_no_reason_to_repeat(silent: Pod) -> None:
    """No time is left for another attempt, though it may be carried out twice."""
    async with pods("other") as (other,):
        pool = listing(silent, other)
        async with connect(pool, idempotent=True) as channel:
            await pool.tried_by(channel)
            calls = [call(channel, timeout=0.2) for _ in range(2)]
            codes = await asyncio.gather(*(one.code() for one in calls))
            assert sorted(codes, key=str) == [StatusCode.DEADLINE_EXCEEDED, StatusCode.OK]
            status = channel.status()
            assert (status.picked, status.failed) == (2, 1)

"""A coroutine in a thread with its own event loop."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from backendpool.controller.loop_thread import LoopThread
from tests.fakes.clock import FakeClock
from tests.fakes.until import until


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def thread(clock: FakeClock) -> LoopThread:
    return LoopThread(clock)


async def test_work_has_a_loop_of_its_own(thread: LoopThread) -> None:
    """Cancelling all tasks in the thread does not affect the caller; results and exceptions are returned."""

    async def work() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    async def broken() -> None:
        raise ZeroDivisionError

    assert await thread.run(work()) is not asyncio.get_running_loop()
    with pytest.raises(ZeroDivisionError):
        await thread.run(broken())


async def test_loop_that_turns_gives_signs_of_life(thread: LoopThread, clock: FakeClock) -> None:
    """A running loop answers pings, however long its work waits."""
    end = threading.Event()

    async def work() -> None:
        while not end.is_set():
            await asyncio.sleep(0.005)

    running = asyncio.create_task(thread.run(work()))
    try:
        for _ in range(5):
            thread.unresponsive_for()
            await asyncio.sleep(0.05)
            clock.now += 60
            assert thread.unresponsive_for() == 0
    finally:
        end.set()
        await running


async def test_loop_that_hangs_is_silent(thread: LoopThread, clock: FakeClock) -> None:
    """A blocked loop is unresponsive from the first unanswered ping until it runs again."""
    hangs, end = threading.Event(), threading.Event()

    async def work() -> None:
        hangs.set()
        end.wait(10)
        await asyncio.sleep(0.05)

    running = asyncio.create_task(thread.run(work()))
    try:
        await until(hangs.is_set)
        assert thread.unresponsive_for() == 0
        clock.now += 40
        assert thread.unresponsive_for() == 40
        clock.now += 30
        assert thread.unresponsive_for() == 70
    finally:
        end.set()
    await until(lambda: thread.unresponsive_for() == 0)
    await running


async def test_nothing_is_awaited_of_what_does_not_run(thread: LoopThread, clock: FakeClock) -> None:
    """A thread without work is never unresponsive."""
    assert thread.unresponsive_for() == 0
    asked = threading.Event()

    async def work() -> None:
        while not asked.is_set():
            time.sleep(0.001)  # noqa: ASYNC251 (it hangs, until it ends)

    running = asyncio.create_task(thread.run(work()))
    await until(lambda: thread._loop is not None)
    thread.unresponsive_for()
    asked.set()
    await running
    clock.now += 100
    assert thread.unresponsive_for() == 0

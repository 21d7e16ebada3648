"""The keyed work queue."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from backendpool.controller.workqueue import QueueMetrics, WorkQueue, WorkTiming
from backendpool.errors import TooManyRequests, Unreachable
from tests.fakes.logs import logged
from tests.fakes.until import until

pytestmark = pytest.mark.fake_clock

TIMING = WorkTiming(min_interval=0.05, max_interval=0.2, backoff=0.02, longest_backoff=0.1)


@dataclass
class Observer(QueueMetrics):
    outcomes: list[str] = field(default_factory=list)

    def began(self, seconds: float) -> None:
        assert seconds >= 0

    def ended(self, seconds: float, outcome: str) -> None:
        assert seconds >= 0
        self.outcomes.append(outcome)


@asynccontextmanager
async def running(
    work: Callable[[str], Awaitable[float | None]], observer: Observer | None = None, timing: WorkTiming = TIMING
) -> AsyncIterator[WorkQueue[str]]:
    queue: WorkQueue[str] = WorkQueue(observer or Observer(), timing)
    task = asyncio.create_task(queue.run(work))
    try:
        yield queue
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_first_change_runs_at_once() -> None:
    """The first change of an idle key runs immediately."""
    ran = asyncio.Event()

    async def work(key: str) -> None:
        ran.set()

    async with running(work) as queue:
        begun = asyncio.get_running_loop().time()
        queue.add("a")
        await ran.wait()
        assert asyncio.get_running_loop().time() - begun < TIMING.min_interval


async def test_burst_is_coalesced_and_last_state_gets_out() -> None:
    """Many changes become few runs, and the last run sees the last state."""
    state = [0]
    seen: list[int] = []

    async def work(key: str) -> None:
        seen.append(state[0])

    async with running(work) as queue:
        for state[0] in range(1, 101):
            queue.add("a")
            await asyncio.sleep(0.004)
        await until(lambda: bool(seen) and seen[-1] == 100)
        assert len(seen) <= 9, "spacings 0.05, 0.1, 0.2, 0.2 … within half a second"


async def test_quiet_key_is_forgotten_and_quick_again() -> None:
    """An idle key is forgotten, and its next change runs immediately again."""

    async def work(key: str) -> None:
        return None

    async with running(work) as queue:
        for _ in range(5):
            queue.add("a")
            await asyncio.sleep(0.03)
        await until(lambda: not queue._items)


async def test_one_key_never_runs_twice_at_once() -> None:
    """A change during a run leads to another run after it."""
    active, most, runs = 0, 0, 0

    async def work(key: str) -> None:
        nonlocal active, most, runs
        active, runs = active + 1, runs + 1
        most = max(most, active)
        await asyncio.sleep(0.08)
        active -= 1

    async with running(work) as queue:
        queue.add("a")
        await until(lambda: active == 1)
        queue.add("a")
        queue.add("a")
        await until(lambda: runs == 2 and active == 0)
        await asyncio.sleep(0.1)
    assert (most, runs) == (1, 2)


async def test_keys_run_side_by_side() -> None:
    """A slow key does not block another."""
    slow, fast = asyncio.Event(), asyncio.Event()

    async def work(key: str) -> None:
        await slow.wait() if key == "slow" else fast.set()

    async with running(work) as queue:
        queue.add("slow")
        queue.add("fast")
        await asyncio.wait_for(fast.wait(), 1)


async def test_failure_comes_back_with_growing_backoff(caplog: pytest.LogCaptureFixture) -> None:
    """A failing key is retried with increasing delays and logged once."""
    times: list[float] = []
    observer = Observer()

    async def work(key: str) -> None:
        times.append(asyncio.get_running_loop().time())
        if len(times) < 5:
            raise Unreachable("connection refused")

    async with running(work, observer) as queue:
        queue.add("a")
        await until(lambda: len(observer.outcomes) == 5)
    assert observer.outcomes == ["failed"] * 4 + ["done"]
    assert times[4] - times[3] > times[1] - times[0]
    (warning,) = logged(caplog, "Run failed, retrying with backoff", key="a", failures=2, error="connection refused")
    assert [record for record in caplog.records if record.levelname == "WARNING"] == [warning]


async def test_change_cuts_a_backoff_short() -> None:
    """A change during a long backoff runs at once, since it may be the remedy."""
    calls = 0

    async def work(key: str) -> float | None:
        nonlocal calls
        calls += 1
        return 60.0 if calls == 1 else None

    async with running(work) as queue:
        queue.add("a")
        await until(lambda: calls == 1)
        queue.add("a")
        await until(lambda: calls == 2)


async def test_work_that_asks_again_runs_again() -> None:
    """Work that returns a number of seconds is requeued after it."""
    calls = 0

    async def work(key: str) -> float | None:
        nonlocal calls
        calls += 1
        return 0.01 if calls < 3 else None

    async with running(work) as queue:
        queue.add("a")
        await until(lambda: calls == 3)


async def test_work_that_always_asks_again_does_not_turn_in_a_circle() -> None:
    """A key that always requeues itself with 0 seconds runs no more often than its interval allows."""
    calls = 0

    async def work(key: str) -> float:
        nonlocal calls
        calls += 1
        return 0.0

    async with running(work) as queue:
        queue.add("a")
        await asyncio.sleep(5.5 * TIMING.min_interval)
    assert 2 <= calls <= 6


async def test_servers_wish_is_the_shortest_wait() -> None:
    """A retry waits at least as long as Retry-After asks (RFC 9110, section 10.2.3)."""
    times: list[float] = []

    async def work(key: str) -> None:
        times.append(asyncio.get_running_loop().time())
        if len(times) == 1:
            raise TooManyRequests(429, "TooManyRequests", "slow down", retry_after=0.3)

    async with running(work) as queue:
        queue.add("a")
        await until(lambda: len(times) == 2)
    assert times[1] - times[0] >= 0.3 > TIMING.longest_backoff


async def test_changes_of_a_failing_key_are_spaced() -> None:
    """The interval applies to a key that fails and changes constantly."""
    runs = 0

    async def work(key: str) -> None:
        nonlocal runs
        runs += 1
        raise Unreachable("connection refused")

    async with running(work, timing=replace(TIMING, backoff=60, longest_backoff=60)) as queue:
        for _ in range(100):
            queue.add("a")
            await asyncio.sleep(0.004)
    assert 3 <= runs <= 6, "spacings 0.05, 0.1, 0.2 … within half a second, not 0.05 each time"


async def test_keys_added_before_the_start_run_once() -> None:
    """Keys added before the queue runs are run once each."""
    runs: list[str] = []

    async def work(key: str) -> None:
        runs.append(key)

    queue: WorkQueue[str] = WorkQueue(Observer(), TIMING)
    for key in ("a", "b", "a", "b"):
        queue.add(key)
    await until(lambda: len(queue) == 2)
    task = asyncio.create_task(queue.run(work))
    await until(lambda: len(runs) == 2)
    await asyncio.sleep(2 * TIMING.min_interval)
    task.cancel()
    assert sorted(runs) == ["a", "b"]


async def test_bug_concerns_its_own_key_alone(caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected error is retried with backoff and affects no other key."""
    runs: list[str] = []

    async def work(key: str) -> None:
        runs.append(key)
        if key == "broken":
            raise ZeroDivisionError("no such number")

    observer = Observer()
    async with running(work, observer) as queue:
        queue.add("broken")
        await until(lambda: runs.count("broken") >= 4)
        queue.add("sound")
        await until(lambda: "sound" in runs)
    assert observer.outcomes.count("error") >= 4
    assert observer.outcomes.count("done") == 1
    (told,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert told.exc_info
    assert logged(caplog, "Unexpected error, retrying with backoff", key="broken") == [told]


async def test_bug_that_comes_back_is_told_again(caplog: pytest.LogCaptureFixture) -> None:
    """A traceback is logged once until the key succeeds, and again after that."""
    outcomes = iter([ZeroDivisionError(), ZeroDivisionError(), None, ZeroDivisionError()])
    runs = 0

    async def work(key: str) -> float | None:
        nonlocal runs
        runs += 1
        error = next(outcomes, None)
        if error:
            raise error
        return 0.001 if runs == 3 else None

    async with running(work) as queue:
        queue.add("a")
        await until(lambda: runs == 5)
    assert [record.levelname for record in caplog.records if record.exc_info] == ["ERROR", "ERROR"]


async def test_run_that_only_found_more_to_do_is_no_success(caplog: pytest.LogCaptureFixture) -> None:
    """A run that requeues with 0 seconds does not reset the backoff or the logged error."""
    runs = 0

    async def work(key: str) -> float | None:
        nonlocal runs
        runs += 1
        if runs % 2:
            raise ZeroDivisionError
        return 0.0

    async with running(work) as queue:
        queue.add("a")
        await until(lambda: runs >= 6)
        assert queue._items["a"].failures >= 3
    assert [record.levelname for record in caplog.records if record.exc_info] == ["ERROR"]


async def test_run_that_was_cancelled_by_nobody_is_an_error() -> None:
    """A CancelledError raised by a library counts as an error of the key and ends no worker."""
    runs: list[str] = []

    async def work(key: str) -> None:
        runs.append(key)
        if key == "broken":
            raise asyncio.CancelledError

    observer = Observer()
    async with running(work, observer) as queue:
        queue.add("broken")
        await until(lambda: runs.count("broken") >= 6)
        queue.add("sound")
        await until(lambda: "sound" in runs)
    assert observer.outcomes.count("error") >= 6


async def test_run_under_way_ends_before_the_queue_does() -> None:
    """When the queue is cancelled, no new run begins, and current runs complete first."""
    begun: list[str] = []
    ended: list[str] = []

    async def work(key: str) -> None:
        begun.append(key)
        await asyncio.sleep(0.05)
        ended.append(key)

    queue: WorkQueue[str] = WorkQueue(Observer(), TIMING)
    task = asyncio.create_task(queue.run(work, workers=1))
    queue.add("a")
    queue.add("b")
    await until(lambda: bool(begun))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert begun == ended == ["a"]


async def test_run_that_hangs_is_cut_when_its_grace_is_over() -> None:
    """A run that outlasts the shutdown grace is cancelled and has ended when the queue returns."""
    begun, ended = asyncio.Event(), False

    async def work(key: str) -> None:
        nonlocal ended
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            ended = True

    async with asyncio.timeout(5), running(work, timing=replace(TIMING, shutdown_grace=0.01)) as queue:
        queue.add("a")
        await begun.wait()
    assert ended

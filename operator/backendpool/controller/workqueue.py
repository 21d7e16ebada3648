"""The keyed work queue: which key is due, and when.

A key's first change is due at once, for it is the one that somebody waits for. Further changes within the
key's *spacing* become one later run, and the spacing doubles with each such run up to a limit, so that a
flapping pod costs a bounded number of writes while the last state still gets out. A quiet key is forgotten.
Runs that fail come back with exponential backoff, whatever they raise. One key is never run twice at the same time.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, Protocol, TypeVar

from backendpool.errors import ApiError, ClusterError
from backendpool.runtime.backoff import max_backoff

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class WorkTiming:
    """All in seconds: the spacing of a busy key's runs, the backoff of a failing one's, the ``grace`` at the end."""

    spacing: float = 0.1
    longest_spacing: float = 1.0
    backoff: float = 0.5
    longest_backoff: float = 30.0
    grace: float = 5.0


class WorkObserver(Protocol):
    """What a queue tells of itself, for metrics."""

    def waited(self, seconds: float) -> None:
        """A run began that many seconds after it was due."""

    def ran(self, seconds: float, outcome: str) -> None:
        """A run ended; ``outcome`` is ``done``, ``again``, ``failed`` or ``error``."""


class _NoObserver:
    def waited(self, seconds: float) -> None:
        pass

    def ran(self, seconds: float, outcome: str) -> None:
        pass


@dataclass(slots=True)
class _Item:
    spacing: float
    timer: asyncio.TimerHandle | None = None
    due: float = 0.0
    started: float = float("-inf")
    running: bool = False
    dirty: bool = False
    failures: int = 0
    broken: bool = False


class WorkQueue(Generic[K]):
    """Keys to work on, each run by one worker at a time; ``describe`` names one in the log."""

    def __init__(
        self,
        observer: WorkObserver | None = None,
        timing: WorkTiming = WorkTiming(),
        describe: Callable[[K], str] = str,
    ) -> None:
        self._observer = observer or _NoObserver()
        self._timing = timing
        self._describe = describe
        self._items: dict[K, _Item] = {}
        self._ready: asyncio.Queue[K] = asyncio.Queue()

    def __len__(self) -> int:
        """Keys that are due or running now."""
        return self._ready.qsize() + sum(item.running for item in self._items.values())

    def longest_run(self) -> float:
        """Seconds since the first of the runs that are under way began; 0 where there is none."""
        return max((self._now() - item.started for item in self._items.values() if item.running), default=0.0)

    def add(self, key: K) -> None:
        """Have ``key`` run: at once, or when its spacing from the last run is over."""
        item = self._items.setdefault(key, _Item(self._timing.spacing))
        if item.running:
            item.dirty = True
        else:
            self._schedule_change(key, item)

    async def run(self, work: Callable[[K], Awaitable[float | None]], workers: int = 4) -> NoReturn:
        """Run ``work(key)`` for each key that is due, for ever.

        ``work`` returns the seconds after which it wants the key again, or None. Whatever it raises concerns that key
        alone, which is retried with backoff: a :class:`ClusterError` is an outcome ``failed``; anything else is a bug,
        an outcome ``error``, and is logged with its traceback, once until the key succeeds.

        Cancelled, it begins no other run, gives those under way their ``grace`` to end, and cuts short what is not
        done by then: once it has ended, nothing of it runs any more.
        """
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._worker(work))
        raise AssertionError("workers never return")

    async def _worker(self, work: Callable[[K], Awaitable[float | None]]) -> NoReturn:
        while True:
            key = await self._ready.get()
            item = self._items[key]
            self._begin(item)
            outcome, again = await _finished(self._attempt(key, item, work), self._timing.grace)
            self._observer.ran(self._now() - item.started, outcome)
            self._end(key, item, again)

    async def _attempt(
        self, key: K, item: _Item, work: Callable[[K], Awaitable[float | None]]
    ) -> tuple[str, float | None]:
        try:
            again = await work(key)
        except ClusterError as error:
            wish = (error.retry_after or 0.0) if isinstance(error, ApiError) else 0.0
            return "failed", self._retry(key, item, error, wish)
        # One object that nobody foresaw must not stop the work on all others. Nobody cancels the run but its worker.
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            if not item.broken:
                log.error("%s: unexpected error, retrying with backoff", self._describe(key), exc_info=error)
            item.broken = True
            return "error", self._retry(key, item, error)
        if item.failures > 1 and again != 0.0:
            log.info("%s works again after %d failures", self._describe(key), item.failures)
        if again != 0.0:  # else the run only found out that there is more to do
            item.failures, item.broken = 0, False
        return ("done", None) if again is None else ("again", again)

    def _retry(self, key: K, item: _Item, error: BaseException, wish: float = 0.0) -> float:
        """Count a failure, and return the seconds to the next run, ``wish`` at least."""
        item.failures += 1
        wait = max(self._backoff(item.failures), wish)
        # The first failure may be a hiccup that the retry hides; a second one is worth a line.
        level = logging.WARNING if item.failures == 2 and not item.broken else logging.DEBUG
        log.log(level, "%s failed %d times, next try in %.1f s: %s", self._describe(key), item.failures, wait, error)
        return wait

    def _begin(self, item: _Item) -> None:
        now = self._now()
        self._observer.waited(max(0.0, now - item.due))
        item.timer, item.running, item.dirty, item.started = None, True, False, now

    def _end(self, key: K, item: _Item, again: float | None) -> None:
        item.running = False
        if item.dirty:
            self._schedule_change(key, item)
        elif again is not None:
            # Never closer than a change could bring it, whatever a run wishes: it must not turn in a circle.
            self._schedule(key, item, max(self._now() + again, item.started + item.spacing))
        else:
            asyncio.get_running_loop().call_later(2 * item.spacing, self._forget, key, item)

    def _schedule_change(self, key: K, item: _Item) -> None:
        now, due = self._now(), item.started + item.spacing
        if self._schedule(key, item, max(now, due)) and due > now:
            item.spacing = min(item.spacing * 2, self._timing.longest_spacing)

    def _schedule(self, key: K, item: _Item, due: float) -> bool:
        """Have the key run then, unless it runs before anyway; whether that made a difference."""
        if item.timer is not None:
            if item.due <= due:
                return False
            item.timer.cancel()
        item.due = due
        item.timer = asyncio.get_running_loop().call_at(due, self._ready.put_nowait, key)
        return True

    def _forget(self, key: K, item: _Item) -> None:
        idle = item.timer is None and not item.running
        if idle and self._now() - item.started >= 2 * item.spacing and self._items.get(key) is item:
            del self._items[key]

    def _backoff(self, failures: int) -> float:
        """Exponential, with jitter of half, so that keys that failed together do not return together."""
        full = max_backoff(failures, self._timing.backoff, self._timing.longest_backoff)
        return full * random.uniform(0.5, 1.0)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _finished(work: Coroutine[Any, Any, R], grace: float) -> R:
    """What ``work`` returns; who is cancelled meanwhile lets it end, within ``grace`` seconds."""
    running = asyncio.create_task(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running], timeout=grace)
        running.cancel()
        await asyncio.wait([running])
        raise

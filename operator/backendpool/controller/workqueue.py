"""A keyed work queue: which key is due, and when.

The first change of a key is due at once, since somebody waits for it. Further changes within its interval become one
later run, and the interval doubles with each such run up to a limit, so that a flapping pod causes a bounded number of
writes and the last state still gets out. An idle key is forgotten. Runs that fail are retried with exponential backoff,
whatever they raise. A key never runs twice at the same time.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

from backendpool.errors import ApiError, ClusterError
from backendpool.runtime.backoff import max_backoff

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class WorkTiming:
    """All in seconds: the interval of a busy key's runs, the backoff of a failing key, the grace at shutdown."""

    min_interval: float = 0.1
    max_interval: float = 1.0
    backoff: float = 0.5
    longest_backoff: float = 30.0
    shutdown_grace: float = 5.0


class QueueMetrics:
    """The metrics of a queue; no-ops unless they are overridden."""

    def began(self, seconds: float) -> None:
        """Record that a run began ``seconds`` after it was due."""

    def ended(self, seconds: float, outcome: str) -> None:
        """Record the duration of a run; ``outcome`` is ``done``, ``requeue``, ``failed`` or ``error``."""


@dataclass(slots=True)
class _Item:
    interval: float
    timer: asyncio.TimerHandle | None = None
    due: float = 0.0
    started: float = float("-inf")
    running: bool = False
    changed: bool = False  # while it was running
    failures: int = 0
    error_logged: bool = False


class WorkQueue(Generic[K]):
    """A queue of keys; ``log_fields`` returns the log fields of a key."""

    def __init__(
        self,
        metrics: QueueMetrics | None = None,
        timing: WorkTiming = WorkTiming(),
        log_fields: Callable[[K], Mapping[str, object]] = lambda key: {"key": key},
    ) -> None:
        self._metrics = metrics or QueueMetrics()
        self._timing = timing
        self._log_fields = log_fields
        self._items: dict[K, _Item] = {}
        self._ready: asyncio.Queue[K] = asyncio.Queue()

    def __len__(self) -> int:
        """Return the number of keys that are due or running."""
        return self._ready.qsize() + sum(item.running for item in self._items.values())

    def longest_run(self) -> float:
        """Return for how many seconds the longest of the current runs has lasted; 0 if there is none."""
        return max((self._now() - item.started for item in self._items.values() if item.running), default=0.0)

    def add(self, key: K) -> None:
        """Schedule a run of ``key``: at once, or when its interval since the last run is over."""
        item = self._items.setdefault(key, _Item(self._timing.min_interval))
        if item.running:
            item.changed = True
        else:
            self._schedule_change(key, item)

    async def run(self, work: Callable[[K], Awaitable[float | None]], workers: int = 4) -> NoReturn:
        """Call ``work(key)`` for each key that is due, until cancelled.

        ``work`` returns the seconds after which to requeue the key, or None. What it raises concerns that key alone,
        which is retried with backoff: a :class:`ClusterError` has the outcome ``failed``; anything else is a bug, has
        the outcome ``error``, and is logged with its traceback, once until the key succeeds.

        When it is cancelled, no further run begins, and current runs have ``shutdown_grace`` to complete before they
        are cancelled. When it returns, nothing runs any longer.
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
            outcome, requeue_after = await _with_grace(self._attempt(key, item, work), self._timing.shutdown_grace)
            self._metrics.ended(self._now() - item.started, outcome)
            self._end(key, item, requeue_after)

    async def _attempt(
        self, key: K, item: _Item, work: Callable[[K], Awaitable[float | None]]
    ) -> tuple[str, float | None]:
        try:
            requeue_after = await work(key)
        except ClusterError as error:
            retry_after = (error.retry_after or 0.0) if isinstance(error, ApiError) else 0.0
            return "failed", self._retry(key, item, error, retry_after)
        # One unexpected object must not stop the others. Only the worker cancels a run.
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            if not item.error_logged:
                log.error("Unexpected error, retrying with backoff", extra=self._log_fields(key), exc_info=error)
            item.error_logged = True
            return "error", self._retry(key, item, error)
        if item.failures > 1 and requeue_after != 0.0:
            log.info("Run succeeded after failures", extra={**self._log_fields(key), "failures": item.failures})
        if requeue_after != 0.0:  # 0 means that the run only found more to do
            item.failures, item.error_logged = 0, False
        return ("done", None) if requeue_after is None else ("requeue", requeue_after)

    def _retry(self, key: K, item: _Item, error: BaseException, retry_after: float = 0.0) -> float:
        """Count a failure, and return the seconds until the next run, at least ``retry_after``."""
        item.failures += 1
        wait = max(self._backoff(item.failures), retry_after)
        # A first failure is often transient: only the second one is logged.
        level = logging.WARNING if item.failures == 2 and not item.error_logged else logging.DEBUG
        log.log(
            level,
            "Run failed, retrying with backoff",
            extra={**self._log_fields(key), "failures": item.failures, "wait_seconds": round(wait, 1), "error": error},
        )
        return wait

    def _begin(self, item: _Item) -> None:
        now = self._now()
        self._metrics.began(max(0.0, now - item.due))
        item.timer, item.running, item.changed, item.started = None, True, False, now

    def _end(self, key: K, item: _Item, requeue_after: float | None) -> None:
        item.running = False
        if item.changed:
            self._schedule_change(key, item)
        elif requeue_after is not None:
            # Not earlier than after a change, or a key that always requeues itself would spin.
            self._schedule(key, item, max(self._now() + requeue_after, item.started + item.interval))
        else:
            asyncio.get_running_loop().call_later(2 * item.interval, self._forget, key, item)

    def _schedule_change(self, key: K, item: _Item) -> None:
        now, due = self._now(), item.started + item.interval
        if self._schedule(key, item, max(now, due)) and due > now:
            item.interval = min(item.interval * 2, self._timing.max_interval)

    def _schedule(self, key: K, item: _Item, due: float) -> bool:
        """Schedule a run unless an earlier one is scheduled; returns whether it was."""
        if item.timer is not None:
            if item.due <= due:
                return False
            item.timer.cancel()
        item.due = due
        item.timer = asyncio.get_running_loop().call_at(due, self._ready.put_nowait, key)
        return True

    def _forget(self, key: K, item: _Item) -> None:
        idle = item.timer is None and not item.running
        if idle and self._now() - item.started >= 2 * item.interval and self._items.get(key) is item:
            del self._items[key]

    def _backoff(self, failures: int) -> float:
        """Exponential with jitter, so that keys that failed together are not retried together."""
        full = max_backoff(failures, self._timing.backoff, self._timing.longest_backoff)
        return full * random.uniform(0.5, 1.0)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _with_grace(work: Coroutine[Any, Any, R], grace: float) -> R:
    """Await ``work``; if the caller is cancelled, let it complete within ``grace`` seconds."""
    running = asyncio.create_task(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running], timeout=grace)
        running.cancel()
        await asyncio.wait([running])
        raise

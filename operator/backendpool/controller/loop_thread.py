"""A thread with its own event loop, whose responsiveness can be checked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

R = TypeVar("R")


class LoopThread:
    """Runs one coroutine at a time in another thread, where it can neither cancel nor block the caller's tasks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pinged_at: float | None = None

    async def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Return what ``work`` returns, or raise what it raises. Cancelling this does not stop the thread."""
        return await asyncio.to_thread(self._run, work)

    def unresponsive_for(self) -> float:
        """Return for how many seconds the loop has not answered a ping; 0 if none is pending.

        If none is pending, this sends the next ping, so call it periodically.
        """
        if self._pinged_at is not None:
            return self._clock() - self._pinged_at
        if loop := self._loop:
            self._pinged_at = self._clock()
            with suppress(RuntimeError):  # it has just been closed
                loop.call_soon_threadsafe(self._pong)
        return 0.0

    def _run(self, work: Coroutine[Any, Any, R]) -> R:
        try:
            with asyncio.Runner() as runner:
                self._loop = runner.get_loop()
                return runner.run(work)
        finally:
            self._loop = self._pinged_at = None

    def _pong(self) -> None:
        self._pinged_at = None

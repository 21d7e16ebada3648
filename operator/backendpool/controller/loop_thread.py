"""A coroutine in a thread and an event loop of its own, which can be asked for a sign of life."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

R = TypeVar("R")


class Aside:
    """Runs one coroutine at a time aside from the caller's event loop, whose tasks it cannot cancel or hold up."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked_at: float | None = None

    async def run(self, work: Coroutine[Any, Any, R]) -> R:
        """What ``work`` returns or raises. Cancelling this leaves the thread to itself: nothing can end one."""
        return await asyncio.to_thread(self._run, work)

    def silent(self) -> float:
        """Seconds since the loop was asked for a sign of life that it has not given; 0 where none is awaited.

        Each call after an answer asks for the next one, so it is to be called now and then.
        """
        if self._asked_at is not None:
            return self._clock() - self._asked_at
        if loop := self._loop:
            self._asked_at = self._clock()
            with suppress(RuntimeError):  # it has just been closed
                loop.call_soon_threadsafe(self._lives)
        return 0.0

    def _run(self, work: Coroutine[Any, Any, R]) -> R:
        try:
            with asyncio.Runner() as runner:
                self._loop = runner.get_loop()
                return runner.run(work)
        finally:
            self._loop = self._asked_at = None

    def _lives(self) -> None:
        self._asked_at = None

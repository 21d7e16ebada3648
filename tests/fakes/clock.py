"""Fake clocks: a monotonic one that stands until a test advances it, and a wall clock that a test can set."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from typing import Self

import pytest

HOUR = 3600.0


class FakeClock:
    """A monotonic clock, called like ``time.monotonic``, with the timers of an event loop."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self._pending: list[tuple[float, Callable[[], None]]] = []

    def __call__(self) -> float:
        return self.now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call back once :meth:`advance` has passed so many seconds."""
        self._pending.append((self.now + seconds, callback))

    def advance(self, seconds: float) -> None:
        """Let time pass, then call the timers that are due, in order."""
        self.now += seconds
        due = [one for one in self._pending if one[0] <= self.now]
        self._pending = [one for one in self._pending if one[0] > self.now]
        for _, callback in sorted(due, key=lambda one: one[0]):
            callback()


class WallClock:
    """An offset on ``time.time`` and the product's ``datetime.now``; the monotonic clock is not affected."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        real, clock = time.time, self

        class Moved(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Self:
                return super().now(tz) + timedelta(seconds=clock.ahead)

        monkeypatch.setattr(time, "time", lambda: real() + clock.ahead)
        monkeypatch.setattr(time, "time_ns", lambda: int((real() + clock.ahead) * 1e9))
        for name, module in list(sys.modules.items()):
            if name.startswith("backendpool") and getattr(module, "datetime", None) is datetime:
                monkeypatch.setattr(module, "datetime", Moved)

    def move(self, seconds: float) -> None:
        """Set the clock forward or, with a negative number, back."""
        self.ahead += seconds

"""An event loop on a fake clock, so that tests of timers do not sleep (the idea is trio's autojump clock).

Mark tests with ``fake_clock``. They must not wait for sockets or other threads.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Mapping

import pytest


class AutojumpLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer whenever all tasks are waiting; its time begins at 0."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_AutojumpSelector(self._jump))

    def time(self) -> float:
        return self._now

    def _jump(self, seconds: float) -> None:
        self._now += seconds


class _AutojumpSelector(selectors.DefaultSelector):
    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0 if timeout is not None else None)
        if timeout is not None and timeout > 0 and not ready:
            self._jump(timeout)
        return ready


def loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """For the hook ``pytest_asyncio_loop_factories``."""
    if item.get_closest_marker("fake_clock"):
        return {"fake": AutojumpLoop}
    return {"real": asyncio.new_event_loop}

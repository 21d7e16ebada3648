"""An event loop's timers, on a clock that a test turns."""

from __future__ import annotations

from collections.abc import Callable


class Timers:
    """Calls back when :meth:`advance` has brought ``now`` there."""

    def __init__(self) -> None:
        self.now = 0.0
        self._pending: list[tuple[float, Callable[[], None]]] = []

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        """As an event loop's ``call_later``."""
        self._pending.append((self.now + seconds, callback))

    def advance(self, seconds: float) -> None:
        """Let time pass, and call what has become due, the oldest first."""
        self.now += seconds
        due = [one for one in self._pending if one[0] <= self.now]
        self._pending = [one for one in self._pending if one[0] > self.now]
        for _, callback in sorted(due, key=lambda one: one[0]):
            callback()

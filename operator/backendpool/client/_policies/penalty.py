"""A penalty for fast failures under the least request policy.

A backend that fails each call at once has the fewest calls in flight, and would attract nearly all calls. So a failed
call counts as in flight for a while longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

HALF_LIFE: Final = 2.0
"""Seconds; much longer than most calls take, and soon over after a single failure."""


@dataclass(slots=True)
class Penalty:
    """The failed calls of one backend that still count as in flight; they decay with ``half_life`` seconds.

    ``now`` is in seconds of a monotonic clock.
    """

    half_life: float = HALF_LIFE
    _calls: float = 0.0
    _since: float = 0.0

    def failed(self, now: float) -> None:
        """Count a failed call."""
        self._calls, self._since = self._left(now) + 1.0, now

    def calls(self, now: float) -> int:
        """Return the penalty in whole calls; a single failure counts for one half-life."""
        return int(self._left(now) + 0.5)

    def _left(self, now: float) -> float:
        return self._calls * 0.5 ** ((now - self._since) / self.half_life) if self._calls else 0.0

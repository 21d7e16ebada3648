"""Why a backend that fails at once does not look idle.

By calls under way, a backend that refuses each call as it comes is the least busy of all, and would draw nearly all
calls. So a call that failed counts as under way for a while longer: as though the backend had been slow, not quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

HALF_LIFE: Final = 2.0
"""Seconds; far longer than most calls take, and soon over for a backend that failed once."""


@dataclass(slots=True)
class Penalty:
    """Calls of one backend that failed and count as under way still; half of them, ``half_life`` seconds later.

    ``now`` is in seconds, of any clock that never goes back.
    """

    half_life: float = HALF_LIFE
    _calls: float = 0.0
    _since: float = 0.0

    def failed(self, now: float) -> None:
        """One more failed."""
        self._calls, self._since = self._left(now) + 1.0, now

    def calls(self, now: float) -> int:
        """As whole calls: a single one counts for one half-life, and no trace of it is left then."""
        return int(self._left(now) + 0.5)

    def _left(self, now: float) -> float:
        return self._calls * 0.5 ** ((now - self._since) / self.half_life) if self._calls else 0.0

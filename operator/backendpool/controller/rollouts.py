"""A limit on how many lookasides roll out at the same time. Pure: the caller provides the timer.

A Deployment starts pods when it is created and when its template changes. Thirty pools applied at once, or an operator
with a new image, would start all of them together, and small nodes would make no progress with any. So a rollout waits
until it is admitted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from backendpool.api.endpoint_slices import CallLater
from backendpool.api.pool import PoolKey

ROLLOUT_SECONDS: Final = 60.0
"""How long an incomplete rollout counts: one that cannot complete must not block the others."""


class RolloutLimiter:
    """Admits ``limit`` rollouts at a time. Calls ``admitted`` with a waiting pool when its rollout may begin.

    The namespace with the fewest rollouts is next, so that a namespace with many pools does not block others. Within a
    namespace, the pool that has waited longest is next.
    """

    def __init__(self, limit: int, admitted: Callable[[PoolKey], None], call_later: CallLater) -> None:
        self._limit = limit
        self._admitted = admitted
        self._call_later = call_later
        self._running: dict[PoolKey, object] = {}
        self._waiting: dict[PoolKey, None] = {}  # oldest first
        self._expired: set[PoolKey] = set()

    def admit(self, key: PoolKey) -> bool:
        """Return whether the pool's rollout may begin or continue; otherwise ``admitted`` is called later."""
        if key not in self._running:
            if len(self._running) >= self._limit:
                self._waiting.setdefault(key)
                return False
            self._begin(key)
        return True

    def resume(self, key: PoolKey) -> None:
        """Count a rollout that an earlier leader began, unless it expired here."""
        if key not in self._running and key not in self._expired:
            self._waiting.pop(key, None)
            self._begin(key)

    def finish(self, key: PoolKey) -> None:
        """Release the pool's slot: its rollout is complete, has failed, or is no longer wanted."""
        self._waiting.pop(key, None)
        self._expired.discard(key)
        if self._running.pop(key, None) is not None:
            self._admit_next()

    def _begin(self, key: PoolKey) -> None:
        self._expired.discard(key)
        turn = self._running[key] = object()
        self._call_later(ROLLOUT_SECONDS, partial(self._expire, key, turn))

    def _expire(self, key: PoolKey, turn: object) -> None:
        if self._running.get(key) is turn:
            self.finish(key)
            self._expired.add(key)

    def _admit_next(self) -> None:
        if not self._waiting or len(self._running) >= self._limit:
            return
        running = Counter(namespace for namespace, _ in self._running)
        key = min(self._waiting, key=lambda waiting: running[waiting[0]])
        del self._waiting[key]
        self._begin(key)
        self._admitted(key)

"""How many lookasides are rolled out at the same time.

A pool's Deployment starts pods when it is created and when its template changes. Thirty pools applied at once, or an
operator with a new image, would start all of them together, and nodes with little CPU would make no progress with any.
So a rollout waits until it is admitted. Pure: the caller brings the timer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from backendpool.api.endpoint_slices import Later
from backendpool.api.pool import PoolKey

ROLLOUT_SECONDS: Final = 60.0
"""How long a rollout counts that does not complete: one that cannot must not hold up the others."""


class RolloutLimiter:
    """Admits ``limit`` rollouts at a time, and calls ``admitted`` with each pool whose turn comes later.

    The next turn is that of the namespace with the fewest rollouts, so that no namespace holds up another by the number
    of its pools; within a namespace, of the pool that has waited longest.
    """

    def __init__(self, limit: int, admitted: Callable[[PoolKey], None], later: Later) -> None:
        self._limit = limit
        self._admitted = admitted
        self._later = later
        self._running: dict[PoolKey, object] = {}
        self._waiting: dict[PoolKey, None] = {}  # in the order of arrival
        self._expired: set[PoolKey] = set()

    def admit(self, key: PoolKey) -> bool:
        """Whether the pool's rollout may begin, or go on; else ``admitted`` is called with ``key`` when it may."""
        if key not in self._running:
            if len(self._running) >= self._limit:
                self._waiting.setdefault(key)
                return False
            self._begin(key)
        return True

    def resume(self, key: PoolKey) -> None:
        """Count a rollout that another leader began. One that expired here is not counted again."""
        if key not in self._running and key not in self._expired:
            self._waiting.pop(key, None)
            self._begin(key)

    def finish(self, key: PoolKey) -> None:
        """The pool's rollout is complete, has failed, or is no longer wanted."""
        self._waiting.pop(key, None)
        self._expired.discard(key)
        if self._running.pop(key, None) is not None:
            self._admit_next()

    def _begin(self, key: PoolKey) -> None:
        self._expired.discard(key)
        turn = self._running[key] = object()
        self._later(ROLLOUT_SECONDS, partial(self._expire, key, turn))

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


def is_complete(deployment: Mapping[str, Any]) -> bool:
    """Whether a Deployment has all its replicas, up to date and available, or can have no more pods for now.

    The rules are those of ``kubectl rollout status``.
    """
    status = deployment.get("status") or {}
    if status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 0):
        return False
    wanted = deployment["spec"]["replicas"]
    counts = (status.get("replicas", 0), status.get("updatedReplicas", 0), status.get("availableReplicas", 0))
    return all(count == wanted for count in counts) or _has_failed(status)


def _has_failed(status: Mapping[str, Any]) -> bool:
    """A quota or an admission policy refuses its pods."""
    conditions = status.get("conditions") or ()
    return any(c.get("type") == "ReplicaFailure" and c.get("status") == "True" for c in conditions)

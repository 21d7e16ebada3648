"""A timer shared by all calls of a channel, for those that have waited too long (docs/adr/0005).

A timer for each call would cost more than everything else that a call over a pool does, and nearly all calls end long
before it would fire.
"""

from __future__ import annotations

from functools import partial
from typing import Final, Protocol, TypeAlias
from weakref import ref

from backendpool.api.endpoint_slices import CallLater

_GRANULARITY: Final = 0.1

_MIN_STALL_TIMEOUT: Final = 1.0
"""Seconds without a response that mean nothing yet, however short a call's deadline."""


def stall_timeout(remaining: float) -> float:
    """Seconds after which a call with ``remaining`` seconds until its deadline counts as stalled."""
    return max(remaining / 2, _MIN_STALL_TIMEOUT)


class Waiter(Protocol):
    """A call that waits for its backend."""

    def stall_timer_fired(self) -> None: ...


Bucket: TypeAlias = dict[int, "ref[Waiter]"]
"""The waiters of one tick, by their ``id``. A waiter that no longer waits removes itself."""


class StallTimer:
    """Fires once for each watched call, within 0.1 s after it is due.

    Holds waiters weakly, so that a call that its caller drops ends at once.
    """

    __slots__ = ("_buckets", "_call_later")

    def __init__(self, call_later: CallLater) -> None:
        self._call_later = call_later
        self._buckets: dict[int, Bucket] = {}

    def watch(self, waiter: Waiter, now: float, seconds: float) -> Bucket:
        """Fire for ``waiter`` in ``seconds``; ``now`` is the time of any one monotonic clock.

        Returns the bucket from which ``waiter`` removes itself if it is not to be called.
        """
        due = int((now + seconds) / _GRANULARITY) + 1
        bucket = self._buckets.get(due)
        if bucket is None:
            bucket = self._buckets[due] = {}
            self._call_later(due * _GRANULARITY - now, partial(self._fire, due))
        bucket[id(waiter)] = ref(waiter)
        return bucket

    def _fire(self, due: int) -> None:
        for found in tuple(self._buckets.pop(due).values()):
            waiter = found()
            if waiter is not None:
                waiter.stall_timer_fired()

"""Calls that have waited for long, each told so once, by a timer that many share.

A timer for each call would cost more than all else that a call over a pool does, and nearly all are answered long
before it is due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol, TypeAlias
from weakref import ref

Later: TypeAlias = Callable[[float, Callable[[], None]], object]
"""Does something so many seconds from now: an event loop's ``call_later``."""

_GRAIN: Final = 0.1

_LEAST_PATIENCE: Final = 1.0
"""Seconds of silence that say nothing yet, however short a call's deadline."""


def patience(left: float) -> float:
    """Seconds to wait for somebody who is silent, of those ``left`` to a call (docs/adr/0005)."""
    return max(left / 2, _LEAST_PATIENCE)


class Waiter(Protocol):
    """A call that waits for its backend."""

    def suspect(self) -> None:
        """It has waited for long."""


Watched: TypeAlias = dict[int, "ref[Waiter]"]
"""The waiters that one timer is for, by their ``id``. One that waits no more removes itself."""


class Silence:
    """To be made in a running event loop.

    Waiters are held weakly: who drops a call has it end, and not wait for this.
    """

    __slots__ = ("_later", "_watched")

    def __init__(self, later: Later | None = None) -> None:
        self._later: Later = later or asyncio.get_running_loop().call_later
        self._watched: dict[int, Watched] = {}

    def watch(self, waiter: Waiter, now: float, seconds: float) -> Watched:
        """Tell ``waiter`` when ``seconds`` are over, and a tenth more at most, from ``now`` by any steady clock.

        It is to remove itself from what is returned if it is not to be told.
        """
        due = int((now + seconds) / _GRAIN) + 1
        watched = self._watched.get(due)
        if watched is None:
            watched = self._watched[due] = {}
            self._later(due * _GRAIN - now, partial(self._over, due))
        watched[id(waiter)] = ref(waiter)
        return watched

    def _over(self, due: int) -> None:
        for found in tuple(self._watched.pop(due).values()):
            waiter = found()
            if waiter is not None:
                waiter.suspect()

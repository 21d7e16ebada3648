"""A client's own zone first, by whichever policy spreads calls within it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection
from typing import Generic, Protocol, TypeVar

from backendpool.client.picker import Picker
from backendpool.client.policies.candidate import Candidate
from backendpool.client.policies.locality import Zoned, split


class Located(Candidate, Zoned, Protocol):
    """A candidate that is somewhere."""


L = TypeVar("L", bound=Located)


class ZonePicker(Generic[L]):
    """Picks in ``zone``, and elsewhere where that cannot take all calls (:func:`~.locality.split`).

    ``make`` makes the picker of each part; ``pool`` gives all backends, usable or not, by which zones are measured.
    """

    __slots__ = ("_chance", "_local", "_others", "_pool", "_share", "_zone")

    def __init__(
        self,
        zone: str,
        make: Callable[[], Picker[L]],
        pool: Callable[[], Collection[L]],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._zone = zone
        self._local, self._others = make(), make()
        self._pool = pool
        self._chance = chance
        self._share = 0.0

    def replace(self, items: tuple[L, ...]) -> None:
        parts = split(items, self._zone, Counter(backend.zone for backend in self._pool()))
        self._share = parts.share
        self._local.replace(parts.local)
        self._others.replace(parts.others)

    def refresh(self) -> None:
        self._local.refresh()
        self._others.refresh()

    def pick(self, avoid: Collection[L] = (), key: bytes | None = None) -> L:
        share = self._share
        near = share == 1.0 or (share > 0.0 and self._chance() < share)
        picked = (self._local if near else self._others).pick(avoid, key)
        if picked in avoid and 0.0 < share < 1.0:
            return (self._others if near else self._local).pick(avoid, key)
        return picked

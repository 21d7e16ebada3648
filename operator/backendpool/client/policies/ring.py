"""A hash ring: each backend has points on it, and owns what lies between each and the point before it."""

from __future__ import annotations

import struct
from bisect import bisect_left, insort
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

from backendpool.client.policies.candidate import Identity
from backendpool.client.policies.hashing import encoded

POINTS: Final = 128
"""Points of each backend. Its share of the ring deviates by 1/sqrt(POINTS) of the mean: 9 %, one standard deviation."""

_ARCS: Final = 256
_SHIFT: Final = 64 - 8
"""By which a point tells its arc."""
_WORDS: Final = struct.Struct(">8Q")


class Ring:
    """The ring of all numbers below 2**64; a change of it costs the points that come or go.

    It is kept in arcs, since a place in one long list is made by moving all that is behind it.
    """

    __slots__ = ("_arcs", "_owners")

    def __init__(self) -> None:
        self._arcs: list[list[int]] = [[] for _ in range(_ARCS)]
        self._owners: dict[int, Identity] = {}

    def add(self, owner: Identity) -> None:
        for point in _points(owner):
            # Should ever two have the same point, it is the first one's.
            if self._owners.setdefault(point, owner) is owner:
                insort(self._arcs[point >> _SHIFT], point)

    def remove(self, owner: Identity) -> None:
        for point in _points(owner):
            if self._owners.get(point) == owner:
                del self._owners[point]
                arc = self._arcs[point >> _SHIFT]
                del arc[bisect_left(arc, point)]

    def owners(self, place: int) -> Iterator[Identity]:
        """Who owns ``place``, and once round from there all that would if those before were gone; with repetitions."""
        first = place >> _SHIFT
        arc = self._arcs[first]
        split = bisect_left(arc, place)
        # As a rule the first is wanted, and nothing behind it.
        for index in range(split, len(arc)):
            yield self._owners[arc[index]]
        for part in (*self._arcs[first + 1 :], *self._arcs[:first], arc[:split]):
            for point in part:
                yield self._owners[point]


def _points(owner: Identity) -> Iterator[int]:
    """A digest of the default size is as long as eight points."""
    name = encoded(owner)
    for index in range(POINTS // 8):
        yield from _WORDS.unpack(blake2b(name, salt=bytes([index])).digest())

"""A hash ring: each backend owns the arcs that end at its points."""

from __future__ import annotations

import struct
from bisect import bisect_left, insort
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

from backendpool.client._policies.candidate import Identity
from backendpool.client._policies.hashing import encoded

POINTS: Final = 128
"""Points per backend. The standard deviation of its share of the ring is 1/sqrt(POINTS) of the mean: 9 %."""

_ARCS: Final = 256
_SHIFT: Final = 64 - 8
"""Shifts a point to the index of its arc."""
_WORDS: Final = struct.Struct(">8Q")


class Ring:
    """A ring of 64-bit numbers; a change costs only the points that are added or removed.

    The points are kept in short lists, since an insertion into one long list moves all that follows.
    """

    __slots__ = ("_arcs", "_owners")

    def __init__(self) -> None:
        self._arcs: list[list[int]] = [[] for _ in range(_ARCS)]
        self._owners: dict[int, Identity] = {}

    def add(self, owner: Identity) -> None:
        for point in _points(owner):
            # If two backends have the same point, the first one owns it.
            if self._owners.setdefault(point, owner) is owner:
                insort(self._arcs[point >> _SHIFT], point)

    def remove(self, owner: Identity) -> None:
        for point in _points(owner):
            if self._owners.get(point) == owner:
                del self._owners[point]
                arc = self._arcs[point >> _SHIFT]
                del arc[bisect_left(arc, point)]

    def owners(self, place: int) -> Iterator[Identity]:
        """Yield the owner of ``place``, then those that would own it if the ones before were removed; with repeats."""
        first = place >> _SHIFT
        arc = self._arcs[first]
        split = bisect_left(arc, place)
        # Usually only the first owner is used.
        for index in range(split, len(arc)):
            yield self._owners[arc[index]]
        for part in (*self._arcs[first + 1 :], *self._arcs[:first], arc[:split]):
            for point in part:
                yield self._owners[point]


def _points(owner: Identity) -> Iterator[int]:
    """Yield the points of ``owner``; a digest of the default size gives eight."""
    name = encoded(owner)
    for index in range(POINTS // 8):
        yield from _WORDS.unpack(blake2b(name, salt=bytes([index])).digest())

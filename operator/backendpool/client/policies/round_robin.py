"""Each in its turn. A pick is a tuple and a counter."""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Generic, TypeVar

from backendpool.client.policies.candidate import RandomSource

T = TypeVar("T")


class RoundRobin(Generic[T]):
    """Each in its turn: between two picks of one item, every other that is there all the time is picked once.

    That holds across changes of the set, for the rotation goes on with the one that would have been next. A
    rotation that began anew would favour whoever comes first in the order, and most so where pods come and go.
    It begins anywhere, so that clients which start together do not all call the same backend first.
    """

    __slots__ = ("_items", "_next", "_random")

    def __init__(self, source: RandomSource = random) -> None:
        self._random = source
        self._items: tuple[T, ...] = ()
        self._next = 0

    def replace(self, items: tuple[T, ...]) -> None:
        self._next = resume(self._items, self._next, items, self._random)
        self._items = items

    def refresh(self) -> None:
        """Nothing here goes by weights."""

    def pick(self, avoid: Collection[T] = (), key: bytes | None = None) -> T:
        items, place = self._items, self._next
        item, place = items[place], place + 1
        for _ in avoid:
            if item not in avoid:
                break
            item, place = items[place % len(items)], place + 1
        self._next = place % len(items)
        return item


def resume(before: tuple[T, ...], place: int, after: tuple[T, ...], source: RandomSource) -> int:
    """Where in ``after`` a rotation goes on that came to ``place`` in ``before``: with the first that is still there.

    Anywhere, where none is.
    """
    there = set(after)
    for item in (*before[place:], *before[:place]):
        if item in there:
            return after.index(item)
    return source.randrange(len(after)) if after else 0

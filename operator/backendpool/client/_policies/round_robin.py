"""The round robin policy."""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Generic, TypeVar

from backendpool.client._policies.candidate import RandomSource

T = TypeVar("T")


class RoundRobin(Generic[T]):
    """Picks items in turn: between two picks of one item, every other item that stays is picked once.

    This holds across changes of the set, since the rotation continues with the item that would have been next. A
    rotation that restarted would favour the first items of the order, most of all while pods come and go. It starts at
    a random item, so that clients which start together do not all call the same backend first.
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
        """Do nothing: weights are not used."""

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
    """Return the place in ``after`` where a rotation at ``place`` in ``before`` continues: the next item that stays.

    It is random if none stays.
    """
    there = set(after)
    for item in (*before[place:], *before[:place]):
        if item in there:
            return after.index(item)
    return source.randrange(len(after)) if after else 0

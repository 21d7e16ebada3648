"""Whose turn it is. Pure: a pick is a tuple and a counter."""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Generic, Protocol, TypeVar

from backendpool.spec import Policy

T = TypeVar("T")


class Picker(Protocol[T]):
    """A policy at work over the backends that can take a call now."""

    def replace(self, items: tuple[T, ...]) -> None:
        """Pick from ``items`` from now on; those that were there before come in the same order as before."""

    def pick(self, avoid: Collection[T] = ()) -> T:
        """One of the items, of which there must be some; of ``avoid`` only where there is no other."""


def picker_for(policy: Policy) -> Picker[T]:
    """The picker that a pool's policy asks for."""
    return RoundRobin() if policy is Policy.ROUND_ROBIN else Random()


class RoundRobin(Generic[T]):
    """Each in its turn: between two picks of one item, every other that is there all the time is picked once.

    That holds across changes of the set, for the rotation goes on with the one that would have been next. A
    rotation that began anew would favour whoever comes first in the order, and most so where pods come and go.
    It begins anywhere, so that clients which start together do not all call the same backend first.
    """

    __slots__ = ("_items", "_next")

    def __init__(self) -> None:
        self._items: tuple[T, ...] = ()
        self._next = 0

    def replace(self, items: tuple[T, ...]) -> None:
        places = {item: place for place, item in enumerate(items)}
        upcoming = (*self._items[self._next :], *self._items[: self._next])
        survivor = next((item for item in upcoming if item in places), None)
        if survivor is not None:
            self._next = places[survivor]
        else:
            self._next = random.randrange(len(items)) if items else 0
        self._items = items

    def pick(self, avoid: Collection[T] = ()) -> T:
        item = self._advance()
        for _ in avoid:
            if item not in avoid:
                break
            item = self._advance()
        return item

    def _advance(self) -> T:
        items, place = self._items, self._next
        self._next = place + 1 if place + 1 < len(items) else 0
        return items[place]


class Random(Generic[T]):
    """Any of them, each as likely as the others, whatever was picked before."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: tuple[T, ...] = ()

    def replace(self, items: tuple[T, ...]) -> None:
        self._items = items

    def pick(self, avoid: Collection[T] = ()) -> T:
        if avoid:
            return random.choice(tuple(item for item in self._items if item not in avoid) or self._items)
        return random.choice(self._items)

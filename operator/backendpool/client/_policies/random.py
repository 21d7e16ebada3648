"""The random policy."""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Generic, TypeVar

from backendpool.client._policies.candidate import RandomSource, preferred

T = TypeVar("T")


class Random(Generic[T]):
    """Picks each item with the same probability."""

    __slots__ = ("_items", "_random")

    def __init__(self, source: RandomSource = random) -> None:
        self._random = source
        self._items: tuple[T, ...] = ()

    def replace(self, items: tuple[T, ...]) -> None:
        self._items = items

    def refresh(self) -> None:
        """Do nothing: weights are not used."""

    def pick(self, avoid: Collection[T] = (), key: bytes | None = None) -> T:
        return self._random.choice(preferred(self._items, avoid))

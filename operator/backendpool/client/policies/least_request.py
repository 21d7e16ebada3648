"""The less busy of two."""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Generic, TypeVar

from backendpool.client.policies.candidate import Candidate, RandomSource, preferred

C = TypeVar("C", bound=Candidate)


class LeastRequest(Generic[C]):
    """Of two that chance names, the one with fewer calls under way: the power of two choices (gRFC A48).

    The least busy of all would draw the calls of all clients at once, since each sees but its own. The two are
    never the same one, as they may be in A48: of two backends, a busy one would else get a quarter of the calls.
    """

    __slots__ = ("_items", "_random")

    def __init__(self, source: RandomSource = random) -> None:
        self._random = source
        self._items: tuple[C, ...] = ()

    def replace(self, items: tuple[C, ...]) -> None:
        self._items = items

    def refresh(self) -> None:
        """Nothing here goes by weights."""

    def pick(self, avoid: Collection[C] = (), key: bytes | None = None) -> C:
        items = preferred(self._items, avoid)
        if len(items) == 1:
            return items[0]
        first = self._random.randrange(len(items))
        second = self._random.randrange(len(items) - 1)
        one, other = items[first], items[second + (second >= first)]
        return one if one.active <= other.active else other

"""The least request policy."""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Generic, TypeVar

from backendpool.client._policies.candidate import Candidate, RandomSource, preferred

C = TypeVar("C", bound=Candidate)


class LeastRequest(Generic[C]):
    """Picks the one of two random backends that has fewer calls in flight: power of two choices (gRFC A48).

    The least loaded of all backends would attract all clients at once, since each sees only its own calls. Unlike in
    A48, the two are never the same backend: otherwise the busier one of two would still get a quarter of the calls.
    """

    __slots__ = ("_items", "_random")

    def __init__(self, source: RandomSource = random) -> None:
        self._random = source
        self._items: tuple[C, ...] = ()

    def replace(self, items: tuple[C, ...]) -> None:
        self._items = items

    def refresh(self) -> None:
        """Do nothing: weights are not used."""

    def pick(self, avoid: Collection[C] = (), key: bytes | None = None) -> C:
        items = preferred(self._items, avoid)
        if len(items) == 1:
            return items[0]
        first = self._random.randrange(len(items))
        second = self._random.randrange(len(items) - 1)
        one, other = items[first], items[second + (second >= first)]
        return one if one.active <= other.active else other

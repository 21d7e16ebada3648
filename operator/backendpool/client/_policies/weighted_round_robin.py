"""The weighted round robin policy (gRFC A58), with the static stride scheduler of gRPC's C-core.

Unlike the gRFC's queue of deadlines, the scheduler needs only a list of weights, and a pick is a counter and a
multiplication.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from typing import Final, Generic, TypeVar

from backendpool.client._policies.candidate import Candidate, RandomSource
from backendpool.client._policies.round_robin import resume

C = TypeVar("C", bound=Candidate)

MAX_STRIDE: Final = 0xFFFF
"""The stride of the largest weight."""

# Neighbours of equal weight are half a period apart, so that a round seldom skips both.
_OFFSET: Final = MAX_STRIDE // 2
# C-core's bounds of a weight relative to the mean. The upper one keeps rounds from skipping nearly all items. The lower
# one gives a backend that was bad the calls to show that it recovered.
_MIN_RATIO: Final = 0.01
_MAX_RATIO: Final = 10.0


class WeightedRoundRobin(Generic[C]):
    """Picks items in turn; those that weigh less than the heaviest skip turns.

    An item with stride ``s`` takes its turn in ``s`` of :data:`MAX_STRIDE` rounds, evenly spread. With equal weights it
    is a plain round robin. Like :class:`RoundRobin`, it starts at a random item and keeps its position when the set or
    a weight changes.
    """

    __slots__ = ("_items", "_next", "_random", "_round", "_strides")

    def __init__(self, source: RandomSource = random) -> None:
        self._random = source
        self._items: tuple[C, ...] = ()
        self._strides: list[int] = []
        self._next = 0
        self._round = source.randrange(MAX_STRIDE)

    def replace(self, items: tuple[C, ...]) -> None:
        self._next = resume(self._items, self._next, items, self._random)
        self._items = items
        self.refresh()

    def refresh(self) -> None:
        """Read the weights again; A58 does so every second."""
        self._strides = strides(self._items)

    def pick(self, avoid: Collection[C] = (), key: bytes | None = None) -> C:
        place = self._advance()
        if avoid and self._items[place] in avoid:
            place = self._other(place, avoid)
        return self._items[place]

    def _advance(self) -> int:
        """Advance to the next place that is not skipped. The heaviest item never skips, so that each round has one."""
        strides, place, turn = self._strides, self._next, self._round
        while True:
            stride, taken = strides[place], place
            place += 1
            skipped = (stride * turn + taken * _OFFSET) % MAX_STRIDE < MAX_STRIDE - stride
            if place == len(strides):
                place, turn = 0, turn + 1
            if not skipped:
                self._next, self._round = place, turn
                return taken

    def _other(self, place: int, avoid: Collection[C]) -> int:
        """Pick another item at random by weight. Advancing the rotation could skip light items a thousand times."""
        others = [index for index, item in enumerate(self._items) if item not in avoid]
        return self._random.choices(others, [self._strides[index] for index in others])[0] if others else place


def strides(items: Sequence[Candidate]) -> list[int]:
    """Return in how many of :data:`MAX_STRIDE` rounds each item takes its turn.

    An item without a weight gets the mean of the others, and if fewer than two have one, all weigh the same (A58). Slow
    start scales the result (gRFC A100).
    """
    shares = [share * item.ramp for share, item in zip(_shares([item.weight for item in items]), items, strict=True)]
    largest = max(shares, default=1.0)
    return [max(1, round(MAX_STRIDE * share / largest)) for share in shares]


def _shares(weights: Sequence[float]) -> list[float]:
    largest = max(weights, default=0.0)
    known = [weight / largest for weight in weights if weight > 0]
    if len(known) < 2:
        return [1.0] * len(weights)
    mean = sum(known) / len(known)
    lower, upper = mean * _MIN_RATIO, mean * _MAX_RATIO
    return [min(max(weight / largest, lower), upper) if weight > 0 else mean for weight in weights]

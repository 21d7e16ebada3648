"""When backends are first connected to, of which many clients may hear at once. Pure but for chance."""

from __future__ import annotations

import random
from typing import Final, Protocol

AT_ONCE: Final = 10
"""Backends that are connected to without a pause."""

_EACH: Final = 0.01
_LONGEST: Final = 3.0


class RandomSource(Protocol):
    """Where chance comes from: a ``random.Random``, or the module ``random`` itself."""

    def uniform(self, a: float, b: float, /) -> float: ...
    def shuffle(self, x: list[float], /) -> None: ...


def delays(count: int, source: RandomSource = random) -> list[float]:
    """Seconds before the first connection to each of ``count`` new backends, in any order.

    All but :data:`AT_ONCE` are spread evenly over 10 ms for each of them, and over 3 s at most.
    """
    spread = min(max(0, count - AT_ONCE) * _EACH, _LONGEST)
    found = [0.0 if place < AT_ONCE else source.uniform(0.0, spread) for place in range(count)]
    source.shuffle(found)
    return found

"""How long to wait before what failed is tried again. Pure."""

from __future__ import annotations


def longest_pause(failures: int, first: float, longest: float) -> float:
    """Seconds to wait at most after so many failures in a row: ``first``, twice that, and so on up to ``longest``.

    Whoever waits takes a random part of it, so that those that failed together do not come back together.
    """
    return min(first * 2.0 ** min(failures - 1, 16), longest)

"""Random picks."""

from collections import Counter
from itertools import pairwise
from random import Random as Source

from backendpool.client._policies.random import Random


def test_gives_equal_shares_in_no_order() -> None:
    """Every backend is equally likely, independent of earlier picks."""
    picker: Random[str] = Random(Source(1))
    picker.replace(("a", "b", "c"))
    picks = [picker.pick() for _ in range(3000)]
    assert all(900 < count < 1100 for count in Counter(picks).values())
    assert len(set(pairwise(picks))) == 9

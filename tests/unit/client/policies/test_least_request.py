"""The power of two choices."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backendpool.client._policies.least_request import LeastRequest
from tests.unit.client.policies.candidates import Backend

PICKS = 6000


def picker_of(*items: Backend) -> LeastRequest[Backend]:
    picker: LeastRequest[Backend] = LeastRequest(Random(1))
    picker.replace(items)
    return picker


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 2**32))
def test_of_two_the_less_busy_is_picked(one: int, other: int, seed: int) -> None:
    """Of two candidates, the one with fewer calls in flight is picked."""
    picker: LeastRequest[Backend] = LeastRequest(Random(seed))
    picker.replace((Backend("a", active=one), Backend("b", active=other)))
    assert picker.pick().active == min(one, other)


def test_shares_fall_with_the_calls_under_way() -> None:
    """With five different loads, the shares are 4, 3, 2, 1 and 0 of the ten pairs."""
    items = [Backend(str(active), active=active) for active in range(5)]
    picker = picker_of(*items)
    counts = Counter(picker.pick().active for _ in range(PICKS))
    assert [counts[active] / PICKS for active in range(5)] == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.0], abs=0.02)


def test_equals_get_equal_shares() -> None:
    """Backends with equal loads get equal shares, whatever their position."""
    picker = picker_of(*(Backend(name) for name in "abcd"))
    counts = Counter(picker.pick().name for _ in range(PICKS))
    assert [counts[name] / PICKS for name in "abcd"] == pytest.approx([0.25] * 4, abs=0.02)


def test_calls_under_way_stay_level() -> None:
    """If no call ends, no backend has many more calls than the mean."""
    items = [Backend(str(number)) for number in range(100)]
    picker = picker_of(*items)
    for _ in range(100 * 20):
        picker.pick().active += 1
    assert max(item.active for item in items) <= 20 + 4

"""Slow start."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backendpool.client._policies.slow_start import SlowStart

SETTINGS = st.builds(SlowStart, st.floats(0.0, 600.0), st.floats(0.1, 10.0), st.floats(0.01, 1.0))


@pytest.mark.parametrize(
    ("aggression", "age", "part"),
    [
        (1.0, 0.0, 0.1),
        (1.0, 5.0, 0.1),
        (1.0, 30.0, 0.5),
        (1.0, 59.0, 59 / 60),
        (1.0, 60.0, 1.0),
        (2.0, 15.0, 0.5),
        (0.5, 30.0, 0.25),
    ],
)
def test_rises_as_envoy_has_it(aggression: float, age: float, part: float) -> None:
    """The share is max(10 %, (age/window) ** (1/aggression)) until the window ends, as in Envoy."""
    assert SlowStart(window=60.0, aggression=aggression).ramp(age) == pytest.approx(part)


def test_the_first_second_counts_in_full() -> None:
    """The age counts as at least one second, since a power of almost zero would be zero."""
    slow = SlowStart(window=4.0)
    assert slow.ramp(0.0) == slow.ramp(1.0) == 0.25


def test_there_is_none_unless_it_is_asked_for() -> None:
    """The default is no slow start."""
    assert SlowStart().ramp(0.0) == 1.0


@given(SETTINGS, st.lists(st.floats(0.0, 1000.0), min_size=2).map(sorted))
def test_never_falls_and_stays_within_bounds(slow: SlowStart, ages: list[float]) -> None:
    """The share never falls with age, and stays between the minimum and 1."""
    parts = [slow.ramp(age) for age in ages]
    assert parts == sorted(parts)
    assert all(slow.least <= part <= 1.0 for part in parts)
    assert slow.ramp(slow.window) == 1.0

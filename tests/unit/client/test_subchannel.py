"""Staggered first connections, so that clients of a large pool do not connect all at once."""

from __future__ import annotations

from random import Random

import pytest

from backendpool.client._subchannel import AT_ONCE, connect_stagger


@pytest.mark.parametrize("count", [0, 1, AT_ONCE])
def test_few_are_connected_to_at_once(count: int) -> None:
    """A small pool is connected at once."""
    assert connect_stagger(count) == [0.0] * count


def test_many_are_spread() -> None:
    """In a large pool, some backends are connected at once and the others evenly over time."""
    found = sorted(connect_stagger(110, Random(1)))
    assert found[:AT_ONCE] == [0.0] * AT_ONCE
    later = found[AT_ONCE:]
    assert later[0] > 0.0
    assert later[-1] <= 1.0
    assert [sum(part <= delay < part + 0.25 for delay in later) > 10 for part in (0.0, 0.25, 0.5, 0.75)] == [True] * 4


def test_no_wait_is_long() -> None:
    """However large the pool, all backends are connected within seconds."""
    assert 2.5 < max(connect_stagger(10_000, Random(1))) <= 3.0


def test_whose_turn_it_is_differs() -> None:
    """Two clients connect to the backends in different orders."""
    one, other = (connect_stagger(50, Random(seed)) for seed in (1, 2))
    assert [place for place, delay in enumerate(one) if not delay] != [
        place for place, delay in enumerate(other) if not delay
    ]

"""What all resolvers have in common."""

from __future__ import annotations

import math

from backendpool.api.pool import PoolView
from backendpool.client._resolvers.resolver import FreshnessTracker
from tests.fakes.clock import HOUR, WallClock
from tests.fakes.objects import pool_view

ONE, TWO = pool_view("192.0.2.1"), pool_view("192.0.2.2")


def test_only_what_differs_is_told() -> None:
    """A pool is reported if it differs from the last one, even if an earlier one was equal."""
    told: list[PoolView | None] = []
    known = FreshnessTracker(told.append)
    for view in (ONE, ONE, TWO, TWO, ONE):
        known.update(view)
    assert told == [ONE, TWO, ONE]


def test_absence_is_told_once_and_only_at_the_start() -> None:
    """A missing pool is reported only at the start; later, the last endpoints are kept."""
    told: list[PoolView | None] = []
    known = FreshnessTracker(told.append)
    known.not_found()
    known.not_found()
    assert math.isinf(known.age()), "nothing is known"
    known.update(ONE)
    known.not_found()
    assert told == [None, ONE]


def test_age_is_that_of_the_teller_and_the_time_since(wall_clock: WallClock) -> None:
    """The age is the reported age plus the time since, by a monotonic clock."""
    known = FreshnessTracker(lambda view: None)
    known.update(ONE, age=HOUR)
    wall_clock.move(-3 * HOUR)
    assert HOUR <= known.age() < 2 * HOUR
    known.confirm()
    wall_clock.move(7 * HOUR)
    assert 0 <= known.age() < HOUR

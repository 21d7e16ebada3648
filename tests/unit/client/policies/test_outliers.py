"""Outlier detection (gRFC A50)."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backendpool.api.load_balancing import FailurePercentage, OutlierDetection, SuccessRate
from backendpool.client._policies.outliers import Stats, sweep, usable
from tests.unit.client.policies.candidates import backends

FAILURES = OutlierDetection(max_ejection_percent=100, failure_percentage=FailurePercentage())
RATE = OutlierDetection(max_ejection_percent=100, success_rate=SuccessRate())


def stats_of(*failures: int, of: int = 100) -> dict[int, Stats]:
    return {number: Stats(of - failed, failed) for number, failed in enumerate(failures)}


def ejected(stats: dict[int, Stats]) -> set[int]:
    return {key for key, found in stats.items() if found.ejected}


def swept(stats: dict[int, Stats], settings: OutlierDetection, now: float = 0.0, seed: int = 1) -> set[int]:
    return ejected(sweep(now, stats, settings, Random(seed)))


def test_nobody_is_ejected_where_no_algorithm_is_asked_for() -> None:
    """Without an algorithm in the settings, nothing is ejected."""
    assert swept(stats_of(100, 0, 0, 0, 0), OutlierDetection()) == set()


def test_all_is_counted_anew_after_a_sweep() -> None:
    """Each sweep resets the counters and does not change its input."""
    before = stats_of(100, 0, 0, 0, 0)
    after = sweep(7.0, before, FAILURES, Random(1))
    assert after == {0: Stats(ejected_at=7.0, multiplier=1)} | {key: Stats() for key in range(1, 5)}
    assert before == stats_of(100, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("stats", "ejections"),
    [
        (stats_of(86, 85, 0, 0, 0), {0}),  # more than 85 percent
        (stats_of(100, 100, 100, 100, 100), {0, 1, 2, 3, 4}),  # it looks at each by itself
        (stats_of(100, 0, 0, 0), set()),  # fewer than 5 hosts
        (stats_of(49, 0, 0, 0, 0, of=49), set()),  # fewer than 50 calls
        (stats_of(50, 0, 0, 0, 0, of=50), {0}),
    ],
)
def test_failure_percentage(stats: dict[int, Stats], ejections: set[int]) -> None:
    """The failure percentage algorithm of gRFC A50, with its defaults."""
    assert swept(stats, FAILURES) == ejections


@pytest.mark.parametrize(
    ("stats", "ejections"),
    [
        # Mean 0.9, deviation 0.2, threshold 0.52.
        (stats_of(50, 0, 0, 0, 0), {0}),
        (stats_of(1, 0, 0, 0, 0), {0}),  # an outlier is one among others, not one that is bad
        (stats_of(50, 50, 0, 0, 0), set()),  # two of five are not
        (stats_of(50, 50, 50, 50, 50), set()),
        (stats_of(50, 0, 0, 0), set()),  # fewer than 5 hosts
        (stats_of(99, 0, 0, 0, 0, of=99), set()),  # fewer than 100 calls
        (stats_of(50, 0, 0, 0, 0) | {5: Stats(0, 99)}, {0}),  # who is called too seldom is not looked at
    ],
)
def test_success_rate(stats: dict[int, Stats], ejections: set[int]) -> None:
    """The success rate algorithm of gRFC A50, with its default of 1.9 standard deviations."""
    assert swept(stats, RATE) == ejections


@example(failures=1, count=11)
@given(st.integers(0, 1000), st.integers(5, 50))
def test_equals_are_no_outliers(failures: int, count: int) -> None:
    """Equally bad backends are no outliers, despite rounding."""
    settings = OutlierDetection(success_rate=SuccessRate(stdev_factor=1))
    assert swept(stats_of(*[failures] * count, of=1000), settings) == set()


@pytest.mark.parametrize(("percent", "count"), [(0, 1), (1, 1), (10, 1), (20, 2), (25, 3), (100, 10)])
def test_the_cap_allows_one_and_then_its_percentage(percent: int, count: int) -> None:
    """The first outlier is always ejected; further ones while the ejected part is below the cap."""
    settings = OutlierDetection(max_ejection_percent=percent, failure_percentage=FailurePercentage())
    assert len(swept(stats_of(*[100] * 10), settings)) == count


def test_the_cap_counts_those_that_are_ejected_already() -> None:
    """The cap includes backends ejected by the other algorithm or an earlier sweep."""
    settings = OutlierDetection(
        max_ejection_percent=20, success_rate=SuccessRate(), failure_percentage=FailurePercentage()
    )
    stats = stats_of(100, 100, 0, 0, 0, 0, 0, 0, 0) | {9: Stats(ejected_at=0.0, multiplier=1)}
    after = sweep(10.0, stats, settings, Random(1))
    assert ejected(after) == {0, 9}


def test_both_algorithms_eject_once() -> None:
    """A backend that both algorithms find is ejected once."""
    settings = OutlierDetection(
        max_ejection_percent=100, success_rate=SuccessRate(), failure_percentage=FailurePercentage()
    )
    assert sweep(0.0, stats_of(100, 0, 0, 0, 0), settings, Random(1))[0].multiplier == 1


def test_enforcement_is_by_chance() -> None:
    """Enforcement ejects the given percentage of the outliers."""
    settings = OutlierDetection(max_ejection_percent=100, failure_percentage=FailurePercentage(enforcement_percent=30))
    assert len(swept(stats_of(*[100] * 1000), settings)) == pytest.approx(300, abs=50)
    for percent, count in ((0, 0), (100, 1000)):
        settings = OutlierDetection(
            max_ejection_percent=100,
            failure_percentage=FailurePercentage(enforcement_percent=percent),
            success_rate=SuccessRate(enforcement_percent=percent),
        )
        assert len(swept(stats_of(*[100] * 1000), settings)) == count


def ejection_seconds(times: int, settings: OutlierDetection) -> list[int]:
    """Return the duration of each ejection of a backend that always fails, with sweeps every second."""
    now, stats = 0, stats_of(100, 0, 0, 0, 0)
    lengths: list[int] = []
    while len(lengths) < times:
        began, stats = now, sweep(now, stats, settings, Random(1))
        while stats[0].ejected:
            now += 1
            stats = sweep(now, stats, settings, Random(1))
        lengths.append(now - began)
        stats[0].failures, now = 100, now + 1
    return lengths


def test_each_ejection_is_longer_than_the_one_before() -> None:
    """Each ejection is longer by the base time, up to the maximum; a sweep exactly at the end is too early."""
    settings = OutlierDetection(base_ejection=30, max_ejection=100, failure_percentage=FailurePercentage())
    assert ejection_seconds(5, settings) == [31, 61, 91, 101, 101]


def test_the_longest_ejection_is_no_shorter_than_the_base() -> None:
    """The maximum is max(base, max) if the settings have them the wrong way round."""
    settings = OutlierDetection(base_ejection=30, max_ejection=10, failure_percentage=FailurePercentage())
    assert ejection_seconds(2, settings) == [31, 31]


def test_an_ejection_of_before_counts_for_less_with_each_good_sweep() -> None:
    """Each good sweep reduces the multiplier by one, down to 0, except the sweep that ends the ejection."""
    stats = {0: Stats(ejected_at=0.0, multiplier=2)}
    multipliers = []
    for now in (60.0, 61.0, 71.0, 81.0, 91.0):
        stats = sweep(now, stats, FAILURES)
        multipliers.append((stats[0].ejected, stats[0].multiplier))
    assert multipliers == [(True, 2), (False, 2), (False, 1), (False, 0), (False, 0)]


@given(
    st.lists(st.integers(0, 100), min_size=5, max_size=40),
    st.integers(0, 100),
    st.sampled_from([RATE, FAILURES]),
    st.integers(0, 2**32),
)
def test_never_more_than_the_cap(failures: list[int], percent: int, base: OutlierDetection, seed: int) -> None:
    """In any sequence of sweeps, at most the cap is ejected, or one backend."""
    settings = OutlierDetection(
        max_ejection_percent=percent, success_rate=base.success_rate, failure_percentage=base.failure_percentage
    )
    stats = stats_of(*failures)
    for now in range(0, 50, 10):
        stats = sweep(now, stats, settings, Random(seed))
        assert (len(ejected(stats)) - 1) * 100 < max(1, percent * len(stats))
        for key, failed in enumerate(failures):
            stats[key].successes, stats[key].failures = 100 - failed, failed


@given(st.lists(st.integers(0, 100), min_size=5, max_size=20, unique=True))
def test_the_worse_are_ejected_before_the_better(failures: list[int]) -> None:
    """Without a cap, every backend that is worse than an ejected one is ejected too."""
    for settings in (RATE, FAILURES):
        found = swept(stats_of(*failures), settings)
        by_failures = sorted(range(len(failures)), key=failures.__getitem__)
        assert all(less not in found or more in found for less, more in pairwise(by_failures))


@pytest.mark.parametrize(
    ("connected", "ejections", "total", "left"),
    [
        (10, 1, 10, 9),
        (10, 5, 10, 5),
        (10, 6, 10, 10),  # panic
        (7, 2, 10, 5),
        (7, 3, 10, 7),  # those that are not connected count as well
        (0, 0, 10, 0),
        (1, 1, 1, 1),
    ],
)
def test_ejections_are_ignored_where_too_few_would_be_left(
    connected: int, ejections: int, total: int, left: int
) -> None:
    """If ejections would leave less than half of the set, they are ignored (Envoy's panic threshold)."""
    items = backends(connected)
    stats = {item.identity: Stats(ejected_at=0.0 if n < ejections else None) for n, item in enumerate(items)}
    assert usable(items, stats, total) == items[len(items) - left :]


def test_one_that_is_not_counted_is_not_ejected() -> None:
    """A backend that has just joined is not ejected."""
    items = backends(2)
    assert usable(items, {}, 2) == items

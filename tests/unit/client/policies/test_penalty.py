"""Backends that fail fast do not attract load."""

from collections import Counter
from heapq import heappop, heappush
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from backendpool.client._policies.least_request import LeastRequest
from backendpool.client._policies.penalty import HALF_LIFE, Penalty
from tests.unit.client.policies.candidates import Backend, backends

LATENCY, FAILS_WITHIN = 0.1, 0.001


def test_a_call_that_failed_counts_for_one_half_life() -> None:
    """A failed call counts as one call for one half-life."""
    penalty = Penalty(half_life=2.0)
    penalty.failed(100.0)
    assert [penalty.calls(100.0 + age) for age in (0.0, 1.9, 2.1, 50.0)] == [1, 1, 0, 0]


@given(st.lists(st.floats(0.0, 5.0), max_size=50), st.floats(0.0, 1e6))
def test_never_counts_more_than_what_failed_and_falls_with_time(pauses: list[float], start: float) -> None:
    """The penalty is at most the number of failed calls, and falls to zero over time."""
    penalty, now = Penalty(), start
    for failed, pause in enumerate(pauses, start=1):
        now += pause
        before = penalty.calls(now)
        penalty.failed(now)
        assert before <= penalty.calls(now) <= min(failed, before + 1)
    later = [penalty.calls(now + age * HALF_LIFE) for age in range(10)]
    assert later == sorted(later, reverse=True)
    assert later[-1] == 0


def shares(*, punished: bool, recovers: float = float("inf"), seconds: float = 20.0) -> Counter[str]:
    """Return the shares of the last second at 100 calls/s: one backend fails in 1 ms, nine answer in 100 ms."""
    items = backends(10)
    bad, penalty = items[0], Penalty()
    picker: LeastRequest[Backend] = LeastRequest(Random(1))
    picker.replace(items)
    counts: Counter[str] = Counter()
    under_way: list[tuple[float, int, Backend]] = []
    calls = Counter[Backend]()
    for number in range(int(seconds * 1000)):
        now = number / 1000
        while under_way and under_way[0][0] <= now:
            end, _, item = heappop(under_way)
            calls[item] -= 1
            if punished and item is bad and end < recovers:
                penalty.failed(end)
        for item in items:
            item.active = calls[item] + (penalty.calls(now) if item is bad else 0)
        item = picker.pick()
        calls[item] += 1
        takes = FAILS_WITHIN if item is bad and now < recovers else LATENCY
        heappush(under_way, (now + takes, number, item))
        if now >= seconds - 1:
            counts[item.name] += 1
    return counts


def test_one_that_fails_at_once_gets_less_than_its_share() -> None:
    """A backend that fails fast gets less than its share with the penalty, and more without it."""
    bad = backends(1)[0].name
    assert shares(punished=False)[bad] / 1000 > 0.15
    assert shares(punished=True)[bad] / 1000 < 0.05


def test_one_that_recovers_gets_its_share_again() -> None:
    """After it recovers, the backend gets its share again."""
    counts = shares(punished=True, recovers=5.0)
    assert counts[backends(1)[0].name] / 1000 > 0.07

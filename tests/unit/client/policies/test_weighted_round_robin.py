"""Weighted round robin."""

from collections import Counter
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backendpool.client._policies.round_robin import RoundRobin
from backendpool.client._policies.weighted_round_robin import MAX_STRIDE, WeightedRoundRobin, strides
from tests.unit.client.policies.candidates import Backend, backends, weighted

WEIGHTS = st.lists(st.floats(0.1, 1.0), min_size=2, max_size=8)


def picker_of(items: tuple[Backend, ...], seed: int = 1) -> WeightedRoundRobin[Backend]:
    picker: WeightedRoundRobin[Backend] = WeightedRoundRobin(Random(seed))
    picker.replace(items)
    return picker


@given(WEIGHTS, st.integers(0, 2**32), st.integers(0, 300))
def test_shares_are_exact_at_any_moment(weights: list[float], seed: int, picks: int) -> None:
    """At any moment, no backend is more than one pick ahead of or behind its share."""
    items = weighted(weights)
    picker = picker_of(items, seed)
    counts = Counter(picker.pick().name for _ in range(picks))
    rounds = max(counts[item.name] for item in items if item.weight == max(weights))
    for item in items:
        assert abs(counts[item.name] - rounds * item.weight / max(weights)) <= 2


def test_shares_are_exact_in_the_long_run() -> None:
    """After as many rounds as there are strides, each backend has exactly its stride of picks."""
    items = weighted([3.0, 1.0, 2.0])
    picker = picker_of(items)
    counts = Counter(picker.pick().name for _ in range(2 * MAX_STRIDE))
    assert [counts[item.name] for item in items] == pytest.approx(
        [MAX_STRIDE, MAX_STRIDE / 3, MAX_STRIDE * 2 / 3], abs=1
    )


@given(st.lists(st.one_of(st.just(0.0), st.floats(5e-324, 1.7e308)), min_size=1, max_size=12), st.data())
def test_strides_follow_weights(weights: list[float], data: st.DataObject) -> None:
    """A higher weight never gets a smaller stride, and no stride is zero."""
    ramps = data.draw(st.lists(st.floats(0.1, 1.0), min_size=len(weights), max_size=len(weights)))
    items = weighted(weights)
    result = strides(items)
    assert max(result) == MAX_STRIDE
    assert min(result) >= 1
    ordered = sorted((item.weight, stride) for item, stride in zip(items, result, strict=True) if item.weight)
    assert all(less[1] <= more[1] for less, more in pairwise(ordered))
    for item, ramp in zip(items, ramps, strict=True):
        item.ramp = ramp
    assert min(strides(items)) >= 1


def test_one_without_a_weight_gets_the_mean() -> None:
    """A backend without a weight gets the mean weight (gRFC A58)."""
    assert strides(weighted([1.0, 3.0, 0.0])) == pytest.approx([MAX_STRIDE / 3, MAX_STRIDE, MAX_STRIDE * 2 / 3], abs=1)


@pytest.mark.parametrize("weights", [[0.0, 0.0, 0.0], [0.0, 9.0, 0.0], [2.0, 2.0, 2.0]])
def test_is_a_plain_rotation_where_weights_say_nothing(weights: list[float]) -> None:
    """With fewer than two weights, or with equal ones, it is plain round robin (gRFC A58)."""
    items = weighted(weights)
    picker, plain = picker_of(items), RoundRobin[Backend](Random(1))
    plain.replace(items)
    while plain.pick() is not items[0]:
        pass
    while picker.pick() is not items[0]:
        pass
    assert [picker.pick() for _ in range(9)] == [plain.pick() for _ in range(9)]


def test_extremes_are_bounded() -> None:
    """A weight counts as at most ten times and at least a hundredth of the mean, as in gRPC core."""
    light, heavy = strides(weighted([1e-9] + [1.0] * 98 + [1e9]))[0::99]
    assert heavy == MAX_STRIDE
    assert light == pytest.approx(MAX_STRIDE / 1000, abs=1)


def test_slow_start_scales_a_weight_and_the_mean() -> None:
    """Slow start scales a reported weight and the mean alike (gRFC A100)."""
    known, unknown, _ = items = weighted([2.0, 0.0, 2.0])
    known.ramp, unknown.ramp = 0.5, 0.1
    assert strides(items) == pytest.approx([MAX_STRIDE / 2, MAX_STRIDE / 10, MAX_STRIDE], abs=1)
    for item in items:
        item.weight = 0.0
    assert strides(items) == pytest.approx([MAX_STRIDE / 2, MAX_STRIDE / 10, MAX_STRIDE], abs=1)


def test_neighbours_of_like_weight_take_turns() -> None:
    """Backends of equal weight skip different rounds, so that the heaviest never gets two calls in a row."""
    items = weighted([0.5, 0.5, 1.0])
    picker = picker_of(items)
    picks = [picker.pick() for _ in range(100)]
    assert all(one is not other for one, other in pairwise(picks))


def test_new_weights_count_from_the_next_refresh_on() -> None:
    """New weights apply from the next refresh; picks do not read weights."""
    items = weighted([1.0, 1.0])
    picker = picker_of(items)
    items[0].weight = 3.0
    assert Counter(picker.pick().name for _ in range(40)) == {"b0": 20, "b1": 20}
    picker.refresh()
    assert Counter(picker.pick().name for _ in range(40))["b0"] == pytest.approx(30, abs=1)


def test_nobody_starves_by_refreshes() -> None:
    """Refreshes keep the position in the rotation, so that light backends get their picks."""
    items = weighted([1.0] * 5 + [0.2] * 5)
    picker = picker_of(items)
    counts: Counter[str] = Counter()
    for _ in range(600):
        picker.refresh()
        counts[picker.pick().name] += 1
    assert min(counts.values()) == pytest.approx(20, abs=2)
    assert len(counts) == 10


def test_the_turns_of_others_go_on_across_changes() -> None:
    """A change of the set neither adds nor removes a pick of backends that stay."""
    first, _, third = items = backends(3)
    picker = picker_of(items)
    while picker.pick() is not first:
        pass
    picker.replace((first, third))
    assert [picker.pick() for _ in range(3)] == [third, first, third]


def test_where_one_is_avoided_the_others_take_its_turns_by_weight() -> None:
    """If a backend is avoided, the others get its picks by weight."""
    bad, strong, weak = items = weighted([1.0, 0.9, 0.1])
    picker = picker_of(items)
    counts = Counter(picker.pick(avoid=[bad]) for _ in range(2000))
    assert counts[weak] / 2000 == pytest.approx(0.1, abs=0.02)
    assert counts[strong] + counts[weak] == 2000


def test_clients_begin_in_different_places() -> None:
    """Clients that start together begin with different backends."""
    items = weighted([1.0, 1.0, 1.0])
    assert {picker_of(items, seed).pick() for seed in range(50)} == set(items)

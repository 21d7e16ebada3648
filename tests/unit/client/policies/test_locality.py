"""Calls within and beyond the own zone."""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backendpool.client._policies.locality import OVERPROVISIONING, Split, split


@dataclass(frozen=True)
class Placed:
    zone: str
    number: int


def placed(**sizes: int) -> tuple[Placed, ...]:
    return tuple(Placed(zone, number) for zone, size in sizes.items() for number in range(size))


def split_of(usable: dict[str, int], sizes: dict[str, int], zone: str = "a") -> Split[Placed]:
    return split(placed(**usable), zone, sizes)


@pytest.mark.parametrize(
    ("usable", "sizes", "share"),
    [
        ({"a": 4, "b": 4, "c": 4}, {"a": 4, "b": 4, "c": 4}, 1.0),
        # Ill: Envoy's rule, 1.4 times the part that is well.
        ({"a": 3, "b": 4, "c": 4}, {"a": 4, "b": 4, "c": 4}, 1.0),
        ({"a": 2, "b": 4, "c": 4}, {"a": 4, "b": 4, "c": 4}, 0.7),
        ({"a": 0, "b": 4, "c": 4}, {"a": 4, "b": 4, "c": 4}, 0.0),
        # Small: all are well, and yet there are half as many as a zone needs.
        ({"a": 2, "b": 5, "c": 5}, {"a": 2, "b": 5, "c": 5}, 0.7),
        ({"a": 1, "b": 2, "c": 1}, {"a": 1, "b": 2, "c": 1}, 1.0),
        # Large enough to be ill.
        ({"a": 4, "b": 2}, {"a": 8, "b": 2}, 1.0),
        # Nowhere else to go.
        ({"a": 1, "b": 0}, {"a": 4, "b": 4}, 1.0),
    ],
)
def test_keeps_what_the_zone_can_take(usable: dict[str, int], sizes: dict[str, int], share: float) -> None:
    """All calls stay in the zone while it has enough usable backends, then a part of them."""
    assert split_of(usable, sizes).share == pytest.approx(share)


@pytest.mark.parametrize("zone", ["", "z"])
def test_a_client_without_backends_near_it_calls_all(zone: str) -> None:
    """A client with an unknown zone, or one without backends, calls all backends."""
    found = split_of({"a": 1, "b": 2}, {"a": 1, "b": 2}, zone)
    assert (found.share, found.local, found.others) == (0.0, (), placed(a=1, b=2))


def test_a_backend_of_unknown_zone_is_not_near() -> None:
    """A backend without a zone is never local, even to a client without a zone."""
    items = (Placed("", 0), Placed("a", 0))
    assert split(items, "", {"": 1, "a": 1}).local == ()
    assert split(items, "a", {"": 1, "a": 1}).local == (items[1],)


ZONES = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 10), min_size=1)


@given(ZONES, st.data())
def test_shares_are_monotone_and_nobody_is_lost(sizes: dict[str, int], data: st.DataObject) -> None:
    """One more usable local backend never lowers the zone's share, and each backend is either local or remote."""
    sizes = {"a": 1} | sizes
    others = {zone: data.draw(st.integers(0, size)) for zone, size in sizes.items() if zone != "a"}
    found = [split_of({"a": usable} | others, sizes) for usable in range(sizes["a"] + 1)]
    assert all(less.share <= more.share for less, more in pairwise(found))
    for each in found:
        assert 0.0 <= each.share <= 1.0
        assert all(item.zone == "a" for item in each.local)
        assert all(item.zone != "a" for item in each.others)
        assert each.share == 0.0 if not each.local else each.share == 1.0 or each.others


@given(ZONES)
def test_no_local_backend_bears_more_than_it_is_trusted_with(sizes: dict[str, int]) -> None:
    """With equally many clients per zone, no backend gets more than 1.4 times the mean load from its own zone."""
    for zone, size in sizes.items():
        found = split_of(sizes, sizes, zone)
        if found.others:
            load_of_zone = 1 / len(sizes)
            mean_load = 1 / Counter(sizes).total()
            assert found.share * load_of_zone / size <= OVERPROVISIONING * mean_load * 1.000001

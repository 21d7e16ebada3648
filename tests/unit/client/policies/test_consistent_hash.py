"""Consistent hashing of keys to backends."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backendpool.client._policies.consistent_hash import ConsistentHash
from tests.unit.client.policies.candidates import Backend, backends

KEYS = [f"user-{number}".encode() for number in range(2000)]


def picker_of(items: tuple[Backend, ...], seed: int = 1) -> ConsistentHash[Backend]:
    picker: ConsistentHash[Backend] = ConsistentHash(Random(seed))
    picker.replace(items)
    return picker


def owners(picker: ConsistentHash[Backend]) -> dict[bytes, Backend]:
    return {key: picker.pick(key=key) for key in KEYS}


@settings(max_examples=30)
@given(st.integers(2, 12), st.data())
def test_a_backend_that_goes_moves_its_own_keys_only(count: int, data: st.DataObject) -> None:
    """Removing a backend moves only its own keys, about one share; when it returns, it gets the same keys."""
    items = backends(count)
    gone = data.draw(st.sampled_from(items))
    picker = picker_of(items)
    before = owners(picker)
    picker.replace(tuple(item for item in items if item is not gone))
    after = owners(picker)
    moved = {key for key in KEYS if before[key] is not after[key]}
    assert moved == {key for key in KEYS if before[key] is gone}
    assert len(moved) / len(KEYS) == pytest.approx(1 / count, rel=0.4)
    picker.replace(items)
    assert owners(picker) == before


def test_the_keys_of_one_that_goes_are_spread() -> None:
    """The keys of a removed backend are spread over all others."""
    items = backends(10)
    picker = picker_of(items)
    before = owners(picker)
    picker.replace(items[1:])
    heirs = Counter(item for key, item in owners(picker).items() if before[key] is items[0])
    assert len(heirs) == 9
    assert max(heirs.values()) < heirs.total() / 3


@given(st.permutations(backends(6)), st.sets(st.integers(0, 5), max_size=5), st.integers(0, 2**32))
def test_all_clients_agree(order: list[Backend], gone: set[int], seed: int) -> None:
    """The table does not depend on the order or history in which a client learned of backends."""
    one, other = picker_of(backends(6)), picker_of(tuple(order), seed)
    stayed = tuple(item for number, item in enumerate(order) if number not in gone)
    other.replace(stayed)
    one.replace(tuple(sorted(stayed, key=lambda item: item.name)))
    assert all(one.pick(key=key) is other.pick(key=key) for key in KEYS[:50])


def test_the_table_is_the_same_in_all_processes() -> None:
    """The table is the same in every process and release."""
    picker = picker_of(tuple(Backend(f"10.0.0.{number}") for number in range(1, 5)))
    assert [picker.pick(key=key).name[-1] for key in KEYS[:12]] == list("424211232141")


def test_shares_are_near_equal() -> None:
    """No backend has 1.5 times the mean number of keys."""
    counts = Counter(owners(picker_of(backends(10))).values())
    assert min(counts.values()) > 200 * 0.65
    assert max(counts.values()) < 200 * 1.35


@given(st.sets(st.integers(0, 5), min_size=1, max_size=5))
def test_one_to_be_avoided_is_passed_over_as_if_gone(numbers: set[int]) -> None:
    """An avoided backend is skipped as if it were removed, so clients agree on the substitute."""
    items = backends(6)
    avoid = tuple(items[number] for number in numbers)
    picker, rest = picker_of(items), picker_of(tuple(item for item in items if item not in avoid))
    assert all(picker.pick(avoid, key) is rest.pick(key=key) for key in KEYS[:50])


def test_calls_without_a_key_go_anywhere() -> None:
    """A call without a key uses a random hash (gRFC A42)."""
    picker = picker_of(backends(4))
    counts = Counter(picker.pick() for _ in range(2000))
    assert [count / 2000 for count in counts.values()] == pytest.approx([0.25] * 4, abs=0.03)


def test_a_backend_made_anew_takes_the_place_of_the_old_one() -> None:
    """A new connection to the same pod keeps its keys, since the table uses identities."""
    items = backends(3)
    picker = picker_of(items)
    anew = (Backend(items[0].name), *items[1:])
    before = owners(picker)
    picker.replace(anew)
    assert all(picker.pick(key=key) is (anew[0] if owner is items[0] else owner) for key, owner in before.items())

"""Subsets of a large pool."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from backendpool.client._policies.subsetting import subset
from tests.unit.client.policies.candidates import Backend, backends

POOL = backends(30)
POOLS = st.sets(st.sampled_from(range(30)), min_size=1).map(lambda numbers: tuple(POOL[n] for n in sorted(numbers)))
SALTS = st.binary(min_size=32, max_size=32)
SIZES = st.integers(1, 30)


@given(POOLS, SIZES, SALTS)
def test_has_the_size_and_the_order(items: tuple[Backend, ...], size: int, salt: bytes) -> None:
    """A subset has the requested size, or all backends if there are fewer, in their order."""
    chosen = subset(items, size, salt)
    assert len(chosen) == min(size, len(items))
    assert [item for item in items if item in chosen] == list(chosen)


@given(POOLS, SIZES, SALTS, st.data())
def test_one_that_goes_costs_one_change_at_most(
    items: tuple[Backend, ...], size: int, salt: bytes, data: st.DataObject
) -> None:
    """Removing a backend changes the subset by at most one, and its return restores it."""
    gone = data.draw(st.sampled_from(items))
    before = set(subset(items, size, salt))
    after = set(subset((item for item in items if item is not gone), size, salt))
    assert before - after == before & {gone}
    assert len(after - before) <= len(before - after)


@given(POOLS, SIZES, SALTS)
def test_a_smaller_part_is_part_of_a_larger_one(items: tuple[Backend, ...], size: int, salt: bytes) -> None:
    """A larger subset contains every smaller one."""
    assert set(subset(items, size, salt)) <= set(subset(items, size + 1, salt))


@given(st.permutations(POOL), SALTS)
def test_the_order_in_which_they_are_told_does_not_matter(order: list[Backend], salt: bytes) -> None:
    """The subset does not depend on the order of the endpoints."""
    assert set(subset(order, 10, salt)) == set(subset(POOL, 10, salt))


def test_the_load_of_many_clients_is_even() -> None:
    """Many clients choose each backend about equally often."""
    source, counts = Random(1), Counter[str]()
    for _ in range(1000):
        counts.update(item.name for item in subset(POOL, 3, source.randbytes(32)))
    assert len(counts) == 30
    assert all(100 - 40 < count < 100 + 40 for count in counts.values())

"""The hash ring."""

from hypothesis import given
from hypothesis import strategies as st

from backendpool.client._policies.ring import Ring
from tests.unit.client.policies.candidates import backends

IDENTITIES = [item.identity for item in backends(5)]
PLACES = st.integers(0, 2**64 - 1)


def ring_of(numbers: set[int]) -> Ring:
    ring = Ring()
    for number in numbers:
        ring.add(IDENTITIES[number])
    return ring


@given(st.sets(st.integers(0, 4)), PLACES)
def test_once_round_comes_everybody(numbers: set[int], place: int) -> None:
    """A full round meets every item with points on the ring, from any start."""
    assert set(ring_of(numbers).owners(place)) == {IDENTITIES[number] for number in numbers}


@given(st.sets(st.integers(0, 4), min_size=2), st.data(), PLACES)
def test_one_that_leaves_is_left_out(numbers: set[int], data: st.DataObject, place: int) -> None:
    """Removing an item keeps the order of the others."""
    ring = ring_of(numbers)
    before = list(ring.owners(place))
    gone = IDENTITIES[data.draw(st.sampled_from(sorted(numbers)))]
    ring.remove(gone)
    assert list(ring.owners(place)) == [owner for owner in before if owner != gone]

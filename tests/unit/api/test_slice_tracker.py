"""The removal grace of endpoints."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backendpool.api.endpoint_slices import REMOVAL_GRACE_SECONDS, Slice, SliceTracker
from backendpool.api.endpoints import Endpoint, EndpointState
from tests.fakes.clock import FakeClock

A, B, C = (Endpoint(f"10.0.0.{n}", 50051, pod_uid=f"u{n}") for n in (1, 2, 3))
SOON = 0.4 * REMOVAL_GRACE_SECONDS


class Listing:
    """Slices, the number of reported changes, and a clock."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.changes = 0
        self.slices = SliceTracker(self._changed, self.clock.call_later)

    def _changed(self) -> None:
        self.changes += 1

    def put(self, name: str, *endpoints: Endpoint, unlisted: frozenset[str] = frozenset()) -> None:
        self.slices.put(Slice("default", name, "greetserver", "IPv4", endpoints, "uid", unlisted))

    def news(self) -> tuple[set[Endpoint], int]:
        """Return the listed endpoints and the number of changes since the last call."""
        told, self.changes = self.changes, 0
        return {endpoint for one in self.slices for endpoint in one.endpoints}, told


@pytest.fixture
def listing() -> Listing:
    listing = Listing()
    listing.put("one", A, B)
    listing.put("two", C)
    assert listing.news() == ({A, B, C}, 2)
    return listing


def test_move_is_no_change(listing: Listing) -> None:
    """An endpoint that moves between slices causes no change, even if its removal is reported first."""
    listing.put("one", B)
    assert listing.news() == ({A, B, C}, 0)
    listing.clock.advance(SOON)
    listing.put("two", C, A)
    listing.clock.advance(REMOVAL_GRACE_SECONDS)
    assert listing.news() == ({A, B, C}, 0)
    assert len(listing.slices) == 2


def test_move_that_is_told_addition_first_waits_for_nothing(listing: Listing) -> None:
    """If the addition is reported first, the removal takes effect without a grace."""
    listing.put("two", C, A)
    assert listing.news()[0] == {A, B, C}
    listing.put("one", B)
    assert listing.news()[0] == {A, B, C}
    assert len(listing.slices) == 2


def test_loss_is_told_when_it_has_settled(listing: Listing) -> None:
    """A removal is reported once, after the grace, whatever else changes meanwhile."""
    listing.put("one", B)
    listing.clock.advance(SOON)
    listing.put("two")
    listing.clock.advance(SOON)
    assert listing.news() == ({A, B, C}, 0)
    listing.clock.advance(SOON)
    assert listing.news() == ({B, C}, 1)
    listing.clock.advance(SOON)
    assert listing.news() == ({B}, 1)


def test_rest_of_the_change_is_told_at_once(listing: Listing) -> None:
    """Other changes in the same event are reported at once."""
    new = Endpoint("10.0.0.9", 50051)
    listing.put("one", B, new)
    assert listing.news() == ({A, B, C, new}, 1)
    listing.put("two", replace(C, zone="a"))
    assert listing.news() == ({A, B, replace(C, zone="a"), new}, 1)


@pytest.mark.parametrize("name", ["one", "two"])
def test_endpoint_that_is_not_to_be_listed_is_known(listing: Listing, name: str) -> None:
    """An endpoint that a slice lists as unready is removed without a grace."""
    listing.put("one", B, unlisted=frozenset({A.address}) if name == "one" else frozenset())
    if name == "two":
        listing.put("two", C, unlisted=frozenset({A.address}))
    assert listing.news() == ({B, C}, 1)


def test_newly_unready_pod_is_no_change(listing: Listing) -> None:
    """A starting pod is reported when it is ready."""
    listing.put("one", A, B, unlisted=frozenset({"10.0.0.9"}))
    assert listing.news() == ({A, B, C}, 0)


def test_end_of_a_draining_endpoint_is_told_at_once(listing: Listing) -> None:
    """A draining endpoint is removed without a grace."""
    draining = replace(A, state=EndpointState.DRAINING)
    listing.put("one", draining, B)
    assert listing.news() == ({draining, B, C}, 1)
    listing.put("one", B)
    assert listing.news() == ({B, C}, 1)


def test_condition_of_the_new_slice_counts(listing: Listing) -> None:
    """An endpoint that joins its new slice as terminating is Draining at once."""
    draining = replace(A, state=EndpointState.DRAINING)
    listing.put("one", B)
    listing.put("two", C, draining)
    assert listing.news() == ({draining, B, C}, 1)


def test_address_in_another_pod_takes_the_place(listing: Listing) -> None:
    """An address that now belongs to another pod or port replaces the old endpoint at once."""
    successor = replace(A, pod_uid="other")
    listing.put("one", B)
    listing.put("two", C, successor)
    assert listing.news() == ({successor, B, C}, 1)
    listing.put("two", C, replace(successor, port=50052))
    assert listing.news() == ({replace(successor, port=50052), B, C}, 1)


def test_port_that_leaves_while_its_address_stays_is_told_at_once(listing: Listing) -> None:
    """A port that disappears while its address stays is removed at once."""
    second = replace(A, port=50052, pod_uid="u9")
    listing.put("two", C, second)
    assert listing.news() == ({A, B, C, second}, 1)
    listing.put("two", C)
    assert listing.news() == ({A, B, C}, 1)


def test_slice_that_goes_takes_its_endpoints_later(listing: Listing) -> None:
    """Endpoints of a deleted slice are removed after the grace, since they may have moved."""
    listing.put("empty")
    listing.news()
    listing.slices.delete("empty")
    assert listing.news() == ({A, B, C}, 1)
    for name in ("one", "two"):
        listing.slices.delete(name)
    assert listing.news() == ({A, B, C}, 0)
    listing.clock.advance(REMOVAL_GRACE_SECONDS)
    assert (listing.news(), len(listing.slices)) == ((set(), 2), 0)

"""Which views are handed on, and when."""

from __future__ import annotations

from backendpool.api.endpoints import EndpointSet
from backendpool.api.load_balancing import DEFAULT, EmptyPolicy, LoadBalancing, Policy
from backendpool.api.pool import PoolView
from backendpool.lookaside.publisher import Publisher
from tests.unit.lookaside.views import view

KEEP = LoadBalancing(empty_policy=EmptyPolicy.KEEP_LAST)


class Known:
    """What the two views know, and what was handed on."""

    def __init__(self, endpoints: EndpointSet | None = None, balancing: LoadBalancing | None = None) -> None:
        self.endpoints = endpoints
        self.balancing = balancing
        self.told: list[PoolView] = []
        self.kept: list[PoolView] = []
        self.publisher = Publisher(lambda: self.endpoints, lambda: self.balancing, self.told.append, self.kept.append)

    def now(self, *addresses: str, balancing: LoadBalancing = DEFAULT) -> None:
        self.endpoints, self.balancing = view(*addresses).endpoints, balancing
        self.publisher.refresh()


def test_nothing_is_told_before_both_halves_are_known() -> None:
    """Endpoints without a policy, or a policy without endpoints, are no view."""
    known = Known(endpoints=view("10.0.0.1").endpoints)
    known.publisher.refresh()
    known.endpoints, known.balancing = None, LoadBalancing()
    known.publisher.refresh()
    assert (known.told, known.kept, known.publisher.kept_endpoints()) == ([], [], None)


def test_equal_view_is_told_once() -> None:
    """A relist that changes nothing changes nothing downstream; a change of either half does."""
    known = Known()
    known.now("10.0.0.1")
    known.now("10.0.0.1")
    assert known.told == known.kept == [view("10.0.0.1")]
    known.now("10.0.0.1", balancing=LoadBalancing(Policy.RANDOM))
    known.now("10.0.0.2", balancing=LoadBalancing(Policy.RANDOM))
    assert len(known.told) == len(known.kept) == 3


def test_last_endpoints_are_kept_for_those_who_cannot() -> None:
    """KeepLast: xDS and Resolve go on with them; who watches is told the truth, and keeps them by itself."""
    known = Known()
    known.now("10.0.0.1", balancing=KEEP)
    known.now(balancing=KEEP)
    assert [len(one.endpoints.endpoints) for one in known.told] == [1, 0]
    assert known.kept == [view("10.0.0.1", balancing=KEEP)]
    assert known.publisher.kept_endpoints() == view("10.0.0.1").endpoints
    known.now("10.0.0.2", balancing=KEEP)
    assert known.publisher.kept_endpoints() == view("10.0.0.2").endpoints


def test_none_are_kept_where_calls_shall_fail() -> None:
    """Fail: empty is empty, for all."""
    known = Known()
    known.now("10.0.0.1")
    known.now()
    assert known.publisher.kept_endpoints() == EndpointSet.of(())


def test_empty_from_the_start_is_empty() -> None:
    """With nothing to keep, KeepLast keeps nothing."""
    known = Known()
    known.now(balancing=KEEP)
    assert known.publisher.kept_endpoints() == EndpointSet.of(())

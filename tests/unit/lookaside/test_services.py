"""The snapshot publisher: what it publishes, and when."""

from __future__ import annotations

from backendpool.api.endpoints import EndpointSet
from backendpool.api.load_balancing import DEFAULT, EmptyPolicy, LoadBalancing, Policy
from backendpool.api.pool import PoolView
from backendpool.lookaside.services import SnapshotPublisher
from tests.fakes.objects import endpoint_set, pool_view
from tests.unit.lookaside.snapshots import POOL

KEEP = LoadBalancing(empty_policy=EmptyPolicy.KEEP_LAST)


class Published:
    """A publisher and the pool views that it published."""

    def __init__(self) -> None:
        self.publisher = SnapshotPublisher(POOL)
        self.watch: list[PoolView] = []
        self.ads: list[PoolView] = []
        self._seen: tuple[object, object] = (None, None)

    def now(self, *addresses: str, balancing: LoadBalancing = DEFAULT) -> None:
        self.publisher.publish(endpoint_set(*addresses), balancing)
        watch, ads = self.publisher.watch.latest, self.publisher.ads.latest
        if watch and watch is not self._seen[0]:
            self.watch.append(watch.view)
        if ads and ads is not self._seen[1]:
            self.ads.append(ads.view)
        self._seen = (watch, ads)


def test_nothing_is_published_before_both_halves_are_known() -> None:
    """Nothing is published before both endpoints and load balancing are known."""
    publisher = SnapshotPublisher(POOL)
    publisher.publish(endpoint_set("10.0.0.1"), None)
    publisher.publish(None, LoadBalancing())
    assert (publisher.watch.latest, publisher.ads.latest, publisher.endpoints()) == (None, None, None)


def test_equal_view_is_published_once() -> None:
    """A relist without changes publishes nothing; a change of endpoints or load balancing does."""
    published = Published()
    published.now("10.0.0.1")
    published.now("10.0.0.1")
    assert published.watch == published.ads == [pool_view("10.0.0.1")]
    published.now("10.0.0.1", balancing=LoadBalancing(Policy.RANDOM))
    published.now("10.0.0.2", balancing=LoadBalancing(Policy.RANDOM))
    assert len(published.watch) == len(published.ads) == 3


def test_keep_last_is_applied_for_xds_and_resolve() -> None:
    """With KeepLast, xDS and Resolve keep the last endpoints; Watch sends the empty set."""
    published = Published()
    published.now("10.0.0.1", balancing=KEEP)
    published.now(balancing=KEEP)
    assert [len(one.endpoints.endpoints) for one in published.watch] == [1, 0]
    assert published.ads == [pool_view("10.0.0.1", balancing=KEEP)]
    assert published.publisher.endpoints() == endpoint_set("10.0.0.1")
    published.now("10.0.0.2", balancing=KEEP)
    assert published.publisher.endpoints() == endpoint_set("10.0.0.2")


def test_fail_is_empty_for_all() -> None:
    """With emptyPolicy Fail, an empty set is published to all clients."""
    published = Published()
    published.now("10.0.0.1")
    published.now()
    assert published.publisher.endpoints() == EndpointSet.of(())


def test_keep_last_without_last_endpoints_is_empty() -> None:
    """If the first set is empty, KeepLast has nothing to keep."""
    published = Published()
    published.now(balancing=KEEP)
    assert published.publisher.endpoints() == EndpointSet.of(())

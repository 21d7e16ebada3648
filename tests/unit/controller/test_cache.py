"""The operator's cache."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from backendpool.api.constants import POOL_LABEL
from backendpool.api.endpoint_slices import REMOVAL_GRACE_SECONDS, union
from backendpool.api.pool import Pool, PoolKey
from backendpool.children.manifest import KubernetesObject
from backendpool.controller.cache import Cache
from tests.fakes.clock import FakeClock
from tests.fakes.objects import parsed_pool, parsed_slice, service

KEY = ("default", "greetserver")
OTHER = ("default", "other")


class Watched:
    """A cache that records which pools it has reported as changed since the last call of ``changed``."""

    def __init__(self) -> None:
        self._changed: list[PoolKey] = []
        self.clock = FakeClock()
        self.cache = Cache(self._changed.append, self.clock.call_later)

    def changed(self) -> set[PoolKey]:
        keys = set(self._changed)
        self._changed.clear()
        return keys

    def shelves(self) -> int:
        """Return the number of pools of which the cache keeps anything."""
        cache = self.cache
        return len(cache._pools) + len(cache._slices) + len(cache._children)


@pytest.fixture
def watched() -> Watched:
    return Watched()


def pool_version(version: int, uid: str = "", **status: Any) -> Pool:
    return parsed_pool(resource_version=version, uid=uid, status=status)


def service_version(version: int, uid: str = "", label: str = KEY[1]) -> KubernetesObject:
    return service(resource_version=version, uid=uid, labels={POOL_LABEL: label})


def held(cache: Cache, key: PoolKey = KEY) -> KubernetesObject | None:
    return cache.children(key).get(("Service", KEY[1]))


def test_new_and_changed_pools_are_told(watched: Watched) -> None:
    """A new or changed pool is reported as changed."""
    watched.cache.put_pool(pool_version(1))
    assert watched.changed() == {KEY}
    watched.cache.put_pool(pool_version(2, revision="a"))
    assert watched.changed() == {KEY}
    assert watched.cache.pool(KEY) == pool_version(2, revision="a")


def test_repeated_pool_is_not_told(watched: Watched) -> None:
    """A repeated event, a relist, or a change of unused fields is not reported."""
    watched.cache.put_pool(pool_version(1))
    watched.changed()
    watched.cache.put_pool(pool_version(1))
    watched.cache.put_pool(pool_version(2))
    assert watched.changed() == set()
    assert watched.cache.pool(KEY) == pool_version(2), "writes are bound to the latest version all the same"


def test_pools_at_rest_take_little_memory(watched: Watched) -> None:
    """Cached pools do not hold parsed statuses, which would be most of their memory."""
    endpoints = [{"address": f"10.0.0.{number}", "podName": f"greetserver-{number}"} for number in range(250)]
    text = json.dumps(endpoints)
    tracemalloc.start()
    try:
        news = pool_version(1, endpoints=json.loads(text))
        as_objects, _ = tracemalloc.get_traced_memory()
        watched.cache.put_pool(news)
        del news
        at_rest, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert at_rest < as_objects / 2
    assert watched.cache.pool(KEY) == pool_version(1, endpoints=endpoints)


def test_late_event_does_not_take_a_pool_back(watched: Watched) -> None:
    """An event from before the operator's own write does not replace the newer pool."""
    watched.cache.put_pool(pool_version(1))
    watched.cache.note_pool(pool_version(3, revision="b"))
    watched.changed()
    watched.cache.put_pool(pool_version(2, revision="a"))
    assert watched.cache.pool(KEY) == pool_version(3, revision="b")
    assert watched.changed() == set()


def test_answer_does_not_bring_a_pool_back(watched: Watched) -> None:
    """A response that arrives after the pool's deletion does not add it again."""
    watched.cache.note_pool(pool_version(2))
    assert watched.cache.pool(KEY) is None
    assert watched.shelves() == 0


def test_pool_made_anew_replaces_the_old_one(watched: Watched) -> None:
    """A new uid replaces the old pool, and late events of the old one are ignored."""
    watched.cache.put_pool(pool_version(1, uid="old"))
    watched.changed()
    watched.cache.put_pool(pool_version(5, uid="new"))
    assert watched.changed() == {KEY}
    watched.cache.put_pool(pool_version(3, uid="old"))
    watched.cache.note_pool(pool_version(4, uid="old"))
    assert watched.cache.pool(KEY) == pool_version(5, uid="new")


def test_pool_that_is_gone_is_forgotten(watched: Watched) -> None:
    """A deleted pool is reported once more, and nothing of it is kept."""
    watched.cache.put_pool(pool_version(1))
    watched.changed()
    watched.cache.drop_pool(pool_version(2))
    assert watched.changed() == {KEY}
    watched.cache.drop_pool(pool_version(2))
    assert watched.changed() == set()
    assert watched.shelves() == 0


def test_late_end_of_a_pool_spares_the_one_made_anew(watched: Watched) -> None:
    """A deletion of the old pool that is reported late does not remove the new one."""
    watched.cache.put_pool(pool_version(1, uid="old"))
    watched.cache.put_pool(pool_version(3, uid="new"))
    watched.cache.drop_pool(pool_version(2, uid="old"))
    assert watched.cache.pool(KEY) == pool_version(3, uid="new")


def test_child_is_kept_by_its_pool_and_told(watched: Watched) -> None:
    """Each change of a child reports the pool that its label names."""
    watched.cache.put_child(None, service_version(1))
    assert watched.changed() == {KEY}
    watched.cache.put_child(service_version(1), service_version(2))
    assert watched.changed() == {KEY}
    assert held(watched.cache) == service_version(2)
    watched.cache.put_child(service_version(2), None)
    assert watched.changed() == {KEY}
    assert watched.shelves() == 0


def test_relabelled_child_concerns_two_pools(watched: Watched) -> None:
    """A child whose pool label changes reports both pools."""
    watched.cache.put_child(None, service_version(1))
    watched.changed()
    watched.cache.put_child(service_version(1), service_version(2, label=OTHER[1]))
    assert watched.changed() == {KEY, OTHER}
    assert held(watched.cache) is None
    assert held(watched.cache, OTHER) is not None


def test_answer_makes_a_held_child_newer(watched: Watched) -> None:
    """The response to an apply is used before its watch event, and older events do not replace it."""
    watched.cache.put_child(None, service_version(1))
    watched.cache.note_child(service_version(3))
    watched.changed()
    watched.cache.put_child(service_version(1), service_version(2))
    assert held(watched.cache) == service_version(3)
    assert watched.changed() == {KEY}


def test_late_answer_does_not_hide_a_later_change(watched: Watched) -> None:
    """A response that is older than the watch is dropped, so that later drift is seen."""
    watched.cache.put_child(None, service_version(3))
    watched.cache.note_child(service_version(2))
    assert held(watched.cache) == service_version(3)


def test_answer_does_not_bring_a_child_back(watched: Watched) -> None:
    """A response that arrives after the child's deletion does not add it again."""
    watched.cache.put_child(None, service_version(1))
    watched.cache.put_child(service_version(1), None)
    watched.cache.note_child(service_version(2))
    assert held(watched.cache) is None
    assert watched.shelves() == 0


def test_late_deletion_spares_the_child_made_anew(watched: Watched) -> None:
    """A deletion of an old child that is reported late does not remove a new one with the same name."""
    watched.cache.put_child(None, service_version(1, uid="old"))
    watched.cache.note_child(service_version(3, uid="new"))
    watched.cache.put_child(service_version(1, uid="old"), None)
    assert held(watched.cache) == service_version(3, uid="new")


def test_slices_are_kept_by_their_service(watched: Watched) -> None:
    """A new, changed or deleted slice reports the pool of its Service, and a deleted one is not kept."""
    cache = watched.cache
    cache.put_slice(None, parsed_slice())
    assert (watched.changed(), cache.slices(KEY)) == ({KEY}, (parsed_slice(),))
    cache.put_slice(parsed_slice(), parsed_slice(address_type="IPv6"))
    assert (watched.changed(), cache.slices(KEY)) == ({KEY}, (parsed_slice(address_type="IPv6"),))
    cache.put_slice(parsed_slice(address_type="IPv6"), None)
    assert (watched.changed(), cache.slices(KEY)) == ({KEY}, ())
    assert watched.shelves() == 0


def test_slice_that_changes_its_service_concerns_both(watched: Watched) -> None:
    """A slice that changes its Service reports both pools, and counts only for the new one."""
    cache = watched.cache
    cache.put_slice(None, parsed_slice())
    watched.changed()
    cache.put_slice(parsed_slice(), parsed_slice(service=OTHER[1]))
    assert watched.changed() == {KEY, OTHER}
    assert (cache.slices(KEY), len(cache.slices(OTHER))) == ((), 1)


def test_endpoint_that_moves_is_no_news(watched: Watched) -> None:
    """An endpoint that moves between slices does not report its pool."""
    before, after = parsed_slice("10.0.0.1", name="one"), parsed_slice(name="one")
    (endpoint,) = before.endpoints
    watched.cache.put_slice(None, before)
    watched.cache.put_slice(None, parsed_slice(name="two"))
    watched.changed()
    watched.cache.put_slice(before, after)
    assert endpoint in union(watched.cache.slices(KEY)).endpoints
    watched.cache.put_slice(parsed_slice(name="two"), parsed_slice("10.0.0.1", name="two"))
    watched.clock.advance(REMOVAL_GRACE_SECONDS)
    assert watched.changed() == set()
    assert endpoint in union(watched.cache.slices(KEY)).endpoints


def test_endpoint_that_is_gone_is_told_a_moment_later(watched: Watched) -> None:
    """A removed endpoint is reported after the removal grace, even if its slice was deleted."""
    one = parsed_slice("10.0.0.1")
    watched.cache.put_slice(None, one)
    watched.changed()
    watched.cache.put_slice(one, None)
    assert watched.changed() == set()
    watched.clock.advance(REMOVAL_GRACE_SECONDS)
    assert (watched.changed(), watched.cache.slices(KEY), watched.shelves()) == ({KEY}, (), 0)


def test_asking_for_what_is_unknown_keeps_nothing(watched: Watched) -> None:
    """Reading unknown keys stores nothing."""
    cache = watched.cache
    assert (cache.pool(KEY), cache.slices(KEY), dict(cache.children(KEY))) == (None, (), {})
    cache.put_slice(parsed_slice(), None)
    cache.put_child(service_version(1), None)
    assert watched.shelves() == 0

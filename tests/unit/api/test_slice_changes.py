"""Sequences of changes of a Service: rollouts, ending pods, several slices."""

from __future__ import annotations

import pytest

from tests.fakes.followed_cache import SERVICES, FollowedCache, slice_of
from tests.fakes.objects import Document, endpoint_slice


@pytest.fixture
def large() -> tuple[FollowedCache, dict[str, Document]]:
    """Return a Service of 250 pods in three slices (KEP-752: 100 per slice)."""
    docs = {}
    for n in range(3):
        namespace, service = SERVICES[0]
        addresses = [f"10.1.{pod // 200}.{pod % 200}" for pod in range(n * 100, min(250, n * 100 + 100))]
        docs[f"slice-{n}"] = endpoint_slice(*addresses, name=f"slice-{n}", namespace=namespace, service=service)
    follower = FollowedCache()
    follower.relist(list(docs.values()))
    return follower, docs


@pytest.mark.parametrize("name", ["slice-0", "slice-1", "slice-2"])
def test_one_of_several_slices_changes_only_its_own(
    large: tuple[FollowedCache, dict[str, Document]], name: str
) -> None:
    """Updating, emptying or deleting one of three slices affects only its own pods."""
    follower, docs = large
    own = len(docs[name]["endpoints"])
    assert len(follower.endpoints(SERVICES[0]).endpoints) == 250
    follower.put({**docs[name], "endpoints": docs[name]["endpoints"][:10]})
    follower.pass_grace()
    assert len(follower.endpoints(SERVICES[0]).endpoints) == 250 - own + 10
    follower.put({**docs[name], "endpoints": []})
    follower.pass_grace()
    assert len(follower.endpoints(SERVICES[0]).endpoints) == 250 - own
    follower.put(docs[name])
    assert len(follower.endpoints(SERVICES[0]).endpoints) == 250
    follower.drop(docs[name])
    follower.pass_grace()
    assert len(follower.endpoints(SERVICES[0]).endpoints) == 250 - own


def listed(follower: FollowedCache) -> dict[str, str]:
    """Return the published state of each endpoint of the first Service."""
    return {endpoint.target: str(endpoint.state) for endpoint in follower.endpoints(SERVICES[0]).endpoints}


def test_rollout_that_changes_a_named_port() -> None:
    """Pods with the new port number come in their own slice while the old ones drain."""
    follower, key = FollowedCache(), SERVICES[0]
    one, two, three, four = "10.0.0.1:50051", "10.0.0.2:50051", "10.0.0.3:50052", "10.0.0.4:50052"
    follower.put(slice_of(key, "old", [1, 2]))
    follower.put(slice_of(key, "new", {3: "unready"}, 50052))
    assert listed(follower) == {one: "Ready", two: "Ready"}
    follower.put(slice_of(key, "new", [3], 50052))
    follower.put(slice_of(key, "old", {1: "draining", 2: "ready"}))
    assert listed(follower) == {one: "Draining", two: "Ready", three: "Ready"}
    follower.put(slice_of(key, "old", [2]))
    follower.put(slice_of(key, "new", [3, 4], 50052))
    assert listed(follower) == {two: "Ready", three: "Ready", four: "Ready"}
    follower.put(slice_of(key, "old", {2: "terminated"}))
    follower.drop(slice_of(key, "old", []))
    assert listed(follower) == {three: "Ready", four: "Ready"}


@pytest.mark.parametrize("removal_first", [True, False])
def test_port_number_that_changes(removal_first: bool) -> None:
    """When the port number changes, the pods stay listed, with the new number once it is known."""
    follower, key = FollowedCache(), SERVICES[0]
    follower.put(slice_of(key, "old", [1, 2]))
    before = listed(follower)
    if removal_first:
        follower.drop(slice_of(key, "old", [1, 2]))
        assert listed(follower) == before
    follower.put(slice_of(key, "new", [1, 2], 50052))
    after = {"10.0.0.1:50052": "Ready", "10.0.0.2:50052": "Ready"}
    if not removal_first:
        assert listed(follower) == before | after
        follower.drop(slice_of(key, "old", [1, 2]))
    assert listed(follower) == after


def test_only_terminating_endpoints_left() -> None:
    """As pods terminate, calls go to ready pods, then to draining ones, then nowhere."""
    follower, key = FollowedCache(), SERVICES[0]
    steps: list[tuple[dict[int, str], set[str]]] = [
        ({1: "ready", 2: "ready"}, {"10.0.0.1", "10.0.0.2"}),
        ({1: "draining", 2: "ready"}, {"10.0.0.2"}),
        ({1: "draining", 2: "draining"}, {"10.0.0.1", "10.0.0.2"}),
        ({1: "draining", 2: "terminated"}, {"10.0.0.1"}),
        ({1: "terminated"}, set()),
        ({}, set()),
        ({3: "unready"}, set()),
        ({3: "ready"}, {"10.0.0.3"}),
    ]
    for pods, eligible in steps:
        follower.put(slice_of(key, "slice", pods))
        assert {endpoint.address for endpoint in follower.endpoints(key).eligible} == eligible


def test_same_service_name_in_two_namespaces_are_two() -> None:
    """Services and slices with equal names in two namespaces are independent."""
    follower = FollowedCache()
    follower.put(slice_of(("shop", "greetserver"), "s", [1]))
    follower.put(slice_of(("mall", "greetserver"), "s", [2]))
    assert [e.address for e in follower.endpoints(("shop", "greetserver")).endpoints] == ["10.0.0.1"]
    assert [e.address for e in follower.endpoints(("mall", "greetserver")).endpoints] == ["10.0.0.2"]


def test_only_the_pool_that_changed_is_told() -> None:
    """A change of one slice enqueues only its pool."""
    follower = FollowedCache()
    follower.relist([slice_of(key, f"{key[1]}-1", [1, 2]) for key in SERVICES])
    follower.changed.clear()
    follower.put(slice_of(SERVICES[0], "greetserver-1", [3]))
    assert set(follower.changed) == {SERVICES[0]}

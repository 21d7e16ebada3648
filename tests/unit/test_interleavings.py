"""From any interleaving of what a cluster tells to the set that a fresh list would give.

A model cluster changes its EndpointSlices. A follower is told of it by a watch that may be late, repeat itself, break
and be replaced by a list; view, cache and union are the real ones.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from backendpool.cache import Cache, PoolKey
from backendpool.cluster.view import Change, View
from backendpool.endpoints import EndpointSet, Slice, parse_slice, union

Document = dict[str, Any]

SERVICES = [("shop", "greetserver"), ("shop", "other"), ("mall", "greetserver")]
NAMES = st.sampled_from([f"slice-{n}" for n in range(4)])
KEYS = st.sampled_from(SERVICES)
PODS = st.lists(st.integers(1, 9), max_size=5, unique=True)


def document(key: PoolKey, name: str, pods: list[int], port: int = 50051, uid: str = "u") -> Document:
    """An EndpointSlice of the Service ``key`` that lists ``pods``."""
    namespace, service = key
    return {
        "metadata": {"namespace": namespace, "name": name, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "grpc", "port": port}],
        "endpoints": [
            {"addresses": [f"10.0.0.{pod}"], "targetRef": {"kind": "Pod", "name": f"p{pod}", "uid": f"{uid}{pod}"}}
            for pod in pods
        ],
    }


class Follower:
    """The real view and cache, and the union of what they hold."""

    def __init__(self) -> None:
        self.told: list[PoolKey] = []
        self._cache = Cache(self.told.append)
        self.view: View[Slice] = View(parse_slice, self._changed)

    def endpoints(self, key: PoolKey) -> EndpointSet:
        return union(self._cache.slices(key))

    def relist(self, documents: list[Document]) -> None:
        self.view.replace(self.view.read(documents))

    def _changed(self, change: Change[Slice]) -> None:
        self._cache.put_slice(change.old, change.new)


def fresh(documents: list[Document], key: PoolKey) -> EndpointSet:
    """What the model says: the union of the slices of this Service as they are now."""
    return union(
        parse_slice(doc)
        for doc in documents
        if (doc["metadata"]["namespace"], doc["metadata"]["labels"]["kubernetes.io/service-name"]) == key
    )


class Cluster(RuleBasedStateMachine):
    """Slices that come, change, move and go, and a follower that is told of it sooner or later."""

    def __init__(self) -> None:
        super().__init__()
        self.slices: dict[tuple[str, str], Document] = {}
        self.untold: list[tuple[str, Document]] = []
        self.last: list[tuple[str, Document]] = []
        self.follower = Follower()

    @rule(key=KEYS, name=NAMES, pods=PODS, port=st.sampled_from([50051, 50052]), uid=st.sampled_from(["u", "v"]))
    def put(self, key: PoolKey, name: str, pods: list[int], port: int, uid: str) -> None:
        """A slice comes or changes: its pods, its port number, its Service, or the pods behind its addresses."""
        doc = document(key, name, pods, port, uid)
        self.slices[key[0], name] = doc
        self.untold.append(("put", doc))

    @rule(key=KEYS, source=NAMES, into=NAMES, removal_first=st.booleans())
    def move(self, key: PoolKey, source: str, into: str, removal_first: bool) -> None:
        """An endpoint moves from one slice of a Service to another; which change is told first is anybody's guess."""
        held, other = self.slices.get((key[0], source)), self.slices.get((key[0], into))
        if held is None or other is None or source == into or not held["endpoints"]:
            return
        left = {**held, "endpoints": held["endpoints"][1:]}
        joined = {**other, "endpoints": [*other["endpoints"], held["endpoints"][0]]}
        self.slices[key[0], source], self.slices[key[0], into] = left, joined
        changes = [("put", left), ("put", joined)]
        self.untold += changes if removal_first else changes[::-1]

    @rule(key=KEYS, name=NAMES)
    def delete(self, key: PoolKey, name: str) -> None:
        """A slice goes."""
        doc = self.slices.pop((key[0], name), None)
        if doc:
            self.untold.append(("drop", doc))

    @rule(count=st.integers(1, 5))
    def tell(self, count: int) -> None:
        """The watch brings the oldest changes, in their order."""
        self.last, self.untold = self.untold[:count], self.untold[count:]
        self._bring(self.last)

    @rule()
    def repeat(self) -> None:
        """A watch that was resumed brings again what it had brought last."""
        self._bring(self.last)

    @rule()
    def relist(self) -> None:
        """The watch broke, and with it all that was not told: a list takes its place."""
        self.untold, self.last = [], []
        self.follower.relist(list(self.slices.values()))

    @invariant()
    def is_what_a_fresh_list_gives_when_all_is_told(self) -> None:
        if not self.untold:
            for key in SERVICES:
                assert self.follower.endpoints(key) == fresh(list(self.slices.values()), key)

    def teardown(self) -> None:
        """However it went: told the rest, or given a list, the follower has what a fresh follower would have."""
        self._bring(self.untold)
        self.untold = []
        self.is_what_a_fresh_list_gives_when_all_is_told()
        self.follower.told.clear()
        self.follower.relist(list(self.slices.values()))
        assert self.follower.told == [], "a list that changes nothing was told as a change"

    def _bring(self, changes: list[tuple[str, Document]]) -> None:
        for verb, doc in changes:
            (self.follower.view.put if verb == "put" else self.follower.view.drop)(doc)


TestInterleavings = Cluster.TestCase
TestInterleavings.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@pytest.fixture
def large() -> tuple[Follower, dict[str, Document]]:
    """A Service of 250 pods over three slices, as the cluster cuts them (KEP-752: 100 to a slice)."""
    docs = {}
    for n in range(3):
        doc = document(SERVICES[0], f"slice-{n}", [])
        pods = range(n * 100, min(250, n * 100 + 100))
        doc["endpoints"] = [{"addresses": [f"10.1.{p // 200}.{p % 200}"]} for p in pods]
        docs[f"slice-{n}"] = doc
    follower = Follower()
    follower.relist(list(docs.values()))
    return follower, docs


@pytest.mark.parametrize("name", ["slice-0", "slice-1", "slice-2"])
def test_one_of_several_slices_changes_only_its_own(large: tuple[Follower, dict[str, Document]], name: str) -> None:
    """Of 250 pods in three slices: one slice updated, emptied, deleted takes and brings its own pods alone."""
    follower, docs = large
    own = len(docs[name]["endpoints"])
    assert len(follower.endpoints(SERVICES[0]).endpoints) == 250
    follower.view.put({**docs[name], "endpoints": docs[name]["endpoints"][:10]})
    assert len(follower.endpoints(SERVICES[0]).endpoints) == 250 - own + 10
    follower.view.put({**docs[name], "endpoints": []})
    assert len(follower.endpoints(SERVICES[0]).endpoints) == 250 - own
    follower.view.put(docs[name])
    assert len(follower.endpoints(SERVICES[0]).endpoints) == 250
    follower.view.drop(docs[name])
    assert len(follower.endpoints(SERVICES[0]).endpoints) == 250 - own


def test_same_service_name_in_two_namespaces_are_two() -> None:
    """Slices of one name, of Services of one name, in two namespaces do not meet."""
    follower = Follower()
    follower.view.put(document(("shop", "greetserver"), "s", [1]))
    follower.view.put(document(("mall", "greetserver"), "s", [2]))
    assert [e.address for e in follower.endpoints(("shop", "greetserver")).endpoints] == ["10.0.0.1"]
    assert [e.address for e in follower.endpoints(("mall", "greetserver")).endpoints] == ["10.0.0.2"]


def test_only_the_pool_that_changed_is_told() -> None:
    """A change of one Service's slice brings no other pool to the queue."""
    follower = Follower()
    follower.relist([document(key, f"{key[1]}-1", [1, 2]) for key in SERVICES])
    follower.told.clear()
    follower.view.put(document(SERVICES[0], "greetserver-1", [3]))
    assert set(follower.told) == {SERVICES[0]}

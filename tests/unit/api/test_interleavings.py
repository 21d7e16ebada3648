"""Property: after any interleaving of events, the published set equals that of a fresh list.

A model cluster changes its EndpointSlices. A follower learns of it by a watch that may be late, repeat itself, break
and be replaced by a list; slice tracker, cache and union are the real ones. The published set is checked after each
event.
"""

from __future__ import annotations

from itertools import permutations
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from backendpool.api.endpoint_slices import REMOVAL_GRACE_SECONDS, parse_slice, union
from backendpool.api.endpoints import Endpoint, EndpointSet, EndpointState
from backendpool.api.pool import PoolKey
from tests.fakes.followed_cache import SERVICES, FollowedCache, slice_of
from tests.fakes.objects import CONDITIONS, Document

Moving = tuple[PoolKey, str]
"""An address, and the Service whose slices it moves between."""

NAMES = st.sampled_from([f"slice-{n}" for n in range(4)])
KEYS = st.sampled_from(SERVICES)
PODS = st.dictionaries(st.integers(1, 9), st.sampled_from(list(CONDITIONS)), max_size=5)


def service_of(doc: Document) -> PoolKey:
    return (doc["metadata"]["namespace"], doc["metadata"]["labels"]["kubernetes.io/service-name"])


class WatchEvent(NamedTuple):
    """A watch event: ``put`` or ``drop``, the slice, and the events still in transit."""

    verb: str
    document: Document
    moving: Moving | None = None


class Cluster(RuleBasedStateMachine):
    """Slices that are added, changed, moved and deleted, and a follower that learns of it sooner or later."""

    def __init__(self) -> None:
        super().__init__()
        self.slices: dict[tuple[str, str], Document] = {}
        self.undelivered: list[WatchEvent] = []
        self.last: list[WatchEvent] = []
        self.past: list[WatchEvent] = []
        self.follower = FollowedCache()
        self.seen: dict[tuple[PoolKey, Endpoint], float] = {}
        self.moving: Moving | None = None
        self.moving_until = 0.0

    @rule(key=KEYS, name=NAMES, pods=PODS, port=st.sampled_from([50051, 50052]), uid=st.sampled_from(["u", "v"]))
    def put(self, key: PoolKey, name: str, pods: dict[int, str], port: int, uid: str) -> None:
        """Add or change a slice: its pods, port number, Service, or the pods behind its addresses."""
        doc = self.follower.stamped(slice_of(key, name, pods, port, uid))
        self.slices[key[0], name] = doc
        self.undelivered.append(WatchEvent("put", doc))

    @rule(choice=st.integers(0, 99), removal_first=st.booleans())
    def move(self, choice: int, removal_first: bool) -> None:
        """Move an endpoint to another slice of its Service; the two events may come in any order."""
        pairs = [pair for key in SERVICES for pair in permutations(self._slices_of(key), 2) if pair[0]["endpoints"]]
        if not pairs:
            return
        source, into = pairs[choice % len(pairs)]
        moved, *rest = source["endpoints"]
        moving = (service_of(source), moved["addresses"][0]) if self._is_one_ready_pod(source, moved) else None
        left, joined = {**source, "endpoints": rest}, {**into, "endpoints": [*into["endpoints"], moved]}
        first, second = map(self.follower.stamped, (left, joined) if removal_first else (joined, left))
        for doc in (first, second):
            self.slices[doc["metadata"]["namespace"], doc["metadata"]["name"]] = doc
        self.undelivered += [WatchEvent("put", first, moving), WatchEvent("put", second)]

    @rule(key=KEYS, name=NAMES)
    def delete(self, key: PoolKey, name: str) -> None:
        """Delete a slice."""
        doc = self.slices.pop((key[0], name), None)
        if doc:
            self.undelivered.append(WatchEvent("drop", self.follower.stamped(doc)))

    @rule(count=st.integers(1, 5))
    def deliver(self, count: int) -> None:
        """Deliver the oldest events in order."""
        self.last, self.undelivered = self.undelivered[:count], self.undelivered[count:]
        self._bring(self.last)
        self.past += self.last

    @rule(seconds=st.sampled_from([0.4, 0.7, 1.0, 20.0]).map(REMOVAL_GRACE_SECONDS.__mul__))
    def wait(self, seconds: float) -> None:
        """Let time pass; both events of a move are delivered within the removal grace."""
        if self.moving and self.follower.clock.now + seconds >= self.moving_until:
            self.deliver(1)
        self._note()
        self.follower.clock.advance(seconds)
        self._check()

    @precondition(lambda self: self.moving is None)
    @rule()
    def repeat(self) -> None:
        """Deliver the last events again, as a resumed watch may."""
        self._bring(self.last)

    @precondition(lambda self: self.past)
    @rule(choice=st.integers(0, 999))
    def come_late(self, choice: int) -> None:
        """Deliver an event from before the last list, which must have no effect."""
        event, before = self.past[choice % len(self.past)], dict(self.follower.store.items)
        assert not (self.follower.store.put if event.verb == "put" else self.follower.store.delete)(event.document)
        assert self.follower.store.items == before

    @rule()
    def relist(self) -> None:
        """Break the watch, drop undelivered events, and deliver a list."""
        self.past += self.undelivered
        self.undelivered, self.last, self.moving = [], [], None
        self._note()
        self.follower.relist(list(self.slices.values()))
        self._check()

    @invariant()
    def has_what_a_fresh_list_gives_when_all_is_delivered(self) -> None:
        if not self.undelivered:
            for key in SERVICES:
                assert self.follower.live(key) == self._fresh(key)

    def teardown(self) -> None:
        """After all events or a list, the follower has what a fresh follower would have."""
        self._bring(self.undelivered)
        self.follower.pass_grace()
        for key in SERVICES:
            assert self.follower.endpoints(key) == self._fresh(key)
        self.follower.changed.clear()
        self.follower.relist(list(self.slices.values()))
        assert self.follower.changed == [], "a list without changes was reported as a change"

    def _is_one_ready_pod(self, source: Document, endpoint: Document) -> bool:
        """Return whether the endpoint is Ready and no other slice of its Service disagrees about its address."""
        conditions = endpoint["conditions"]
        addresses = [item["addresses"] for doc in self._slices_of(service_of(source)) for item in doc["endpoints"]]
        takes_calls = conditions["ready"] and not conditions.get("terminating")
        return takes_calls and addresses.count(endpoint["addresses"]) == 1

    def _fresh(self, key: PoolKey) -> EndpointSet:
        """The model: the union of the current slices of this Service."""
        return union(map(parse_slice, self._slices_of(key)))

    def _slices_of(self, key: PoolKey) -> list[Document]:
        return [doc for doc in self.slices.values() if service_of(doc) == key]

    def _bring(self, changes: list[WatchEvent]) -> None:
        for event in changes:
            self._note()
            (self.follower.store.put if event.verb == "put" else self.follower.store.delete)(event.document)
            standing = event.moving or self.moving
            self.moving, self.moving_until = event.moving, self.follower.clock.now + REMOVAL_GRACE_SECONDS
            self._check()
            if standing:
                key, address = standing
                assert address in {e.address for e in self.follower.endpoints(key).endpoints}, "it vanished on its way"

    def _note(self) -> None:
        """Record each endpoint that a slice lists now, even if another slice disagrees."""
        now, slices = self.follower.clock.now, self.follower.store.items.values()
        self.seen |= {((held.namespace, held.service), one): now for held in slices for one in held.endpoints}

    def _check(self) -> None:
        """Everything listed now is published, and besides only what was listed until a moment ago."""
        now = self.follower.clock.now
        for key in SERVICES:
            published, live = self.follower.endpoints(key), self.follower.live(key)
            assert published == union(self.follower.cache.slices(key)), "a change was not reported"
            assert set(live.endpoints) <= set(published.endpoints)
            for endpoint in set(published.endpoints) - set(live.endpoints):
                assert endpoint.state is EndpointState.READY
                assert now - self.seen[key, endpoint] < REMOVAL_GRACE_SECONDS


TestInterleavings = Cluster.TestCase
TestInterleavings.settings = settings(max_examples=150, stateful_step_count=40)

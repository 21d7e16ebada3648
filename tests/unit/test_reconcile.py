"""One reconcile: children applied, status written, nothing done twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from backendpool.apply import ChildApplier
from backendpool.cache import Cache, PoolKey
from backendpool.cluster.api import Api
from backendpool.endpoints import Endpoint, Slice
from backendpool.errors import Forbidden, Unreachable
from backendpool.examiner import Examiner
from backendpool.lookaside_pod import selector_labels
from backendpool.metrics import OperatorMetrics
from backendpool.names import API_VERSION, KIND, POOL_LABEL
from backendpool.pool import parse_pool
from backendpool.reconcile import Reconciler
from backendpool.recorder import EventRecorder
from backendpool.settle import SETTLE_SECONDS
from backendpool.writer import ChildWriter
from tests.unit.fake_api import FakeApi
from tests.unit.timers import Timers

KEY = ("shop", "greetserver")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STARTING = 10.0
"""Seconds after which a lookaside that has no server yet is looked at."""


@dataclass
class World:
    """A reconciler, the API server that it writes to, and the watches between, delivered on request."""

    api: FakeApi = field(default_factory=FakeApi)
    enqueued: list[PoolKey] = field(default_factory=list)

    def __post_init__(self) -> None:
        api = cast("Api", self.api)
        metrics = OperatorMetrics(CollectorRegistry())
        self.timers = Timers()
        self.cache = Cache(self.enqueued.append, self.timers.later)
        recorder = EventRecorder(api, "operator-0")
        applier = ChildApplier(api, self.cache, recorder, ChildWriter(api, metrics), "backendpool/operator:test")
        self.refused: dict[str, str] = {}
        self.seconds = 0.0
        self.reconciler = Reconciler(
            api,
            self.cache,
            applier,
            Examiner(api, clock=lambda: self.seconds),
            recorder,
            metrics,
            refused=lambda _: self.refused,
            clock=lambda: NOW,
        )
        self.seen: dict[Any, Any] = {}
        self.pool = self.api.put(_pool())
        self.deliver()

    def deliver(self) -> None:
        """What the watches would bring: the pool, and each child that is labelled as ours."""
        for obj in [o for (kind, _, _), o in self.api.objects.items() if kind == KIND]:
            self.cache.put_pool(parse_pool(obj))
        now = {r: o for r, o in self.api.children().items() if POOL_LABEL in o["metadata"].get("labels", {})}
        for ref in self.seen | now:
            if self.seen.get(ref) != now.get(ref):
                self.cache.put_child(self.seen.get(ref), now.get(ref))
        self.seen = now

    async def reconcile(self) -> float | None:
        self.api.writes.clear()
        again = await self.reconciler.reconcile(KEY)
        self.deliver()
        return again

    def slices(self, *endpoints: Endpoint, name: str = "s1") -> None:
        uid = self.api.objects["Service", *KEY]["metadata"]["uid"]
        held = {one.name: one for one in self.cache.slices(KEY)}
        self.cache.put_slice(held.get(name), Slice(*KEY[:1], name, KEY[1], "IPv4", endpoints, uid))

    @property
    def status(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.api.objects[KIND, *KEY]["status"])

    def condition(self, kind: str) -> dict[str, Any]:
        return next(c for c in self.status["conditions"] if c["type"] == kind)


def _pool(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"namespace": KEY[0], "name": KEY[1], "uid": "pool-1", "generation": 1},
        "spec": {"selector": {"run": "greetserver"}, "port": 50051, **spec},
    }


@pytest.fixture
def world() -> World:
    return World()


async def test_new_pool_gets_its_children_and_a_status(world: World) -> None:
    """The first reconcile makes every child once, what runs pods last, and writes the status once."""
    assert await world.reconcile() == STARTING
    made = [(kind, name) for verb, kind, name in world.api.writes if verb == "create"]
    assert made[0] == ("Service", "greetserver")
    assert made[-1] == ("Deployment", "greetserver-lookaside")
    assert len(made) == len(set(made)) == 8
    assert [w for w in world.api.writes if w[0] == "status"] == [("status", KIND, "greetserver")]


async def test_second_reconcile_writes_nothing(world: World) -> None:
    """What stands as desired is left alone, so a restarted operator or a relist costs no write."""
    await world.reconcile()
    await world.reconcile()
    assert world.api.writes == []


async def test_own_writes_do_not_bring_the_pool_back(world: World) -> None:
    """The watch's echo of a status write is known already and enqueues nothing."""
    await world.reconcile()
    world.enqueued.clear()
    world.deliver()
    assert world.enqueued == []


async def test_what_ails_the_lookaside_reaches_the_status(world: World) -> None:
    """A pod that does not start tells why in the pool's condition, and is looked at again."""
    await world.reconcile()
    waiting = {"reason": "ErrImagePull", "message": "no such image"}
    labels = selector_labels(parse_pool(world.pool))
    metadata = {"namespace": KEY[0], "name": "greetserver-lookaside-1", "labels": labels}
    statuses = [{"name": "lookaside", "state": {"waiting": waiting}}]
    world.api.put({"kind": "Pod", "metadata": metadata, "status": {"containerStatuses": statuses}})
    world.seconds += STARTING
    assert await world.reconcile() == 15.0
    condition = world.condition("LookasideAvailable")
    assert condition["reason"] == "LookasideUnavailable"
    assert "pod greetserver-lookaside-1 does not start (ErrImagePull): no such image" in condition["message"]


async def test_endpoints_reach_the_status(world: World) -> None:
    """A slice of the pool's Service becomes the sorted list in the status, by one write."""
    await world.reconcile()
    world.slices(Endpoint("10.0.0.2", 50051), Endpoint("10.0.0.1", 50051))
    await world.reconcile()
    assert [e["address"] for e in world.status["endpoints"]] == ["10.0.0.1", "10.0.0.2"]
    assert world.api.writes == [("status", KIND, "greetserver")]


async def test_endpoint_that_moves_is_not_written_out(world: World) -> None:
    """Between the two events of its move, a reconcile for whatever reason leaves it in the status."""
    await world.reconcile()
    moving, staying, new = (Endpoint(f"10.0.0.{n}", 50051) for n in (1, 2, 3))
    world.slices(moving, staying, name="s1")
    world.slices(name="s2")
    await world.reconcile()
    world.slices(staying, new, name="s1")
    await world.reconcile()
    assert [e["address"] for e in world.status["endpoints"]] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    world.slices(moving, name="s2")
    world.timers.advance(SETTLE_SECONDS)
    await world.reconcile()
    assert world.api.writes == []


async def test_endpoint_that_vanished_is_written_out(world: World) -> None:
    """One that no slice names any more is in the status for a moment, brings its pool back, and is gone."""
    await world.reconcile()
    world.slices(Endpoint("10.0.0.1", 50051), Endpoint("10.0.0.2", 50051))
    await world.reconcile()
    world.enqueued.clear()
    world.slices(Endpoint("10.0.0.2", 50051))
    assert world.enqueued == []
    world.timers.advance(SETTLE_SECONDS)
    assert world.enqueued == [KEY]
    await world.reconcile()
    assert [e["address"] for e in world.status["endpoints"]] == ["10.0.0.2"]


async def test_deleted_service_keeps_the_last_endpoints(world: World) -> None:
    """While the Service is away nothing is known of endpoints, so nobody is told that there are none."""
    await world.reconcile()
    world.slices(Endpoint("10.0.0.1", 50051))
    await world.reconcile()
    del world.api.objects["Service", *KEY]
    old = world.cache.slices(KEY)[0]
    world.cache.put_slice(old, None)
    world.deliver()
    await world.reconcile()
    assert ("create", "Service", "greetserver") in world.api.writes
    assert [e["address"] for e in world.status["endpoints"]] == ["10.0.0.1"]
    assert world.condition("EndpointsAvailable")["status"] == "Unknown"


async def test_slices_of_a_deleted_service_do_not_count(world: World) -> None:
    """A Service made anew is not judged by what is left of the old one's slices."""
    await world.reconcile()
    stale = Slice(KEY[0], "old", KEY[1], "IPv4", (Endpoint("10.9.9.9", 50051),), owner_uid="gone")
    world.cache.put_slice(None, stale)
    world.slices(Endpoint("10.0.0.1", 50051))
    await world.reconcile()
    assert [e["address"] for e in world.status["endpoints"]] == ["10.0.0.1"]


async def test_foreign_service_is_left_alone(world: World) -> None:
    """A Service of the pool's name that is not its own stops the pool, and is not touched."""
    foreign = world.api.put({"kind": "Service", "metadata": {"namespace": KEY[0], "name": KEY[1]}, "spec": {}})
    again = await world.reconcile()
    assert world.condition("Stalled")["reason"] == "Conflict"
    assert "Service greetserver" in world.condition("Stalled")["message"]
    assert world.api.objects["Service", *KEY] == foreign
    assert [w for w in world.api.writes if w[0] != "status"] == []
    assert again, "no watch tells when the foreign Service goes, so the pool is looked at again"


async def test_foreign_service_gives_no_endpoints(world: World) -> None:
    """Neither name nor label makes a Service the pool's: clients are not led where it leads."""
    await world.reconcile()
    world.slices(Endpoint("10.0.0.1", 50051))
    await world.reconcile()
    owned = world.api.objects["Service", *KEY]
    world.api.put({**owned, "metadata": {**owned["metadata"], "uid": "foreign", "ownerReferences": []}})
    world.slices(Endpoint("10.6.6.6", 50051), name="foreign")
    world.deliver()
    await world.reconcile()
    assert world.condition("Stalled")["reason"] == "Conflict"
    assert [e["address"] for e in world.status["endpoints"]] == ["10.0.0.1"]


async def test_conflict_ends_with_the_foreign_object(world: World) -> None:
    """When the foreign Service is gone the pool comes up."""
    world.api.put({"kind": "Service", "metadata": {"namespace": KEY[0], "name": KEY[1]}, "spec": {}})
    await world.reconcile()
    del world.api.objects["Service", *KEY]
    assert await world.reconcile() == STARTING
    assert world.condition("Stalled")["status"] == "False"


async def test_changed_child_is_put_right(world: World) -> None:
    """A child that somebody edited is applied again, and no other."""
    await world.reconcile()
    service = world.api.objects["Service", *KEY]
    world.api.put({**service, "spec": {**service["spec"], "selector": {"run": "other"}}})
    world.deliver()
    await world.reconcile()
    assert world.api.writes == [("merge", "Service", "greetserver"), ("apply", "Service", "greetserver")]
    assert world.api.objects["Service", *KEY]["spec"]["selector"] == {"run": "greetserver"}


async def test_children_no_longer_asked_for_are_removed(world: World) -> None:
    """Without a lookaside and readers only the headless Service stays."""
    await world.reconcile()
    world.api.objects[KIND, *KEY]["spec"]["lookaside"] = {"replicas": 0}
    world.api.objects[KIND, *KEY]["metadata"]["generation"] = 2
    world.api.put(world.api.objects[KIND, *KEY])
    world.deliver()
    await world.reconcile()
    assert set(world.api.children()) == {("Service", "greetserver")}
    assert world.condition("LookasideAvailable")["reason"] == "Disabled"


async def test_refused_child_is_told_and_retried(world: World) -> None:
    """A refusal stands in the status with the server's sentence, and the pool comes back."""
    world.api.refusals["create", "Deployment"] = Forbidden(403, "Forbidden", "exceeded quota: pods")
    with pytest.raises(Forbidden):
        await world.reconcile()
    assert world.condition("Ready")["reason"] == "ApplyFailed"
    assert "exceeded quota" in world.condition("Ready")["message"]


async def test_outage_writes_nothing_false(world: World) -> None:
    """When the API server is away the reconcile fails and the status stays as it was."""
    await world.reconcile()
    before = world.status
    world.slices(Endpoint("10.0.0.1", 50051))
    world.api.refusals["status", KIND] = Unreachable("connection refused")
    with pytest.raises(Unreachable):
        await world.reconcile()
    assert world.status == before


async def test_status_conflict_reads_again_and_comes_back(world: World) -> None:
    """A pool that changed under the write is read anew without waiting for its watch."""
    world.api.put(world.api.objects[KIND, *KEY])
    assert await world.reconcile() == 0.0
    assert await world.reconcile() == STARTING
    assert world.condition("Ready")["status"] == "False"


async def test_pool_deleted_unseen_gets_no_new_children(world: World) -> None:
    """A pool whose deletion nobody saw is found to be gone before anything is made for it."""
    await world.reconcile()
    del world.api.objects[KIND, *KEY]
    world.api.remove("Service", *KEY)
    world.deliver()
    assert await world.reconcile() is None
    assert world.api.writes == []
    assert world.cache.pool(KEY) is None


async def test_new_pool_deleted_unseen_is_served_once(world: World) -> None:
    """What is made for a pool before its first status is the cluster's to collect, and is not made a second time."""
    del world.api.objects[KIND, *KEY]
    assert await world.reconcile() is None
    assert world.cache.pool(KEY) is None
    assert await world.reconcile() is None
    assert world.api.writes == []


async def test_first_status_has_the_endpoints_that_are_there(world: World) -> None:
    """What the API server answers to the making of the Service is known at once, though not yet by the watch."""
    world.cache.put_slice(None, Slice(KEY[0], "s1", KEY[1], "IPv4", (Endpoint("10.0.0.1", 50051),)))
    await world.reconciler.reconcile(KEY)
    assert [e["address"] for e in world.status["endpoints"]] == ["10.0.0.1"]


async def test_pool_in_deletion_is_left_alone(world: World) -> None:
    """Foreground deletion waits for the children: they are not made anew under it."""
    await world.reconcile()
    world.api.objects[KIND, *KEY]["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    world.api.put(world.api.objects[KIND, *KEY])
    del world.api.objects["Service", *KEY]
    world.deliver()
    await world.reconcile()
    assert world.api.writes == []


async def test_spec_of_an_unknown_policy_stalls(world: World) -> None:
    """A spec that this version does not understand changes nothing, and says so."""
    await world.reconcile()
    world.api.put({**world.api.objects[KIND, *KEY], "spec": {"selector": {"a": "b"}, "port": 1, "policy": "Psychic"}})
    world.deliver()
    await world.reconcile()
    assert world.condition("Stalled")["reason"] == "InvalidSpec"
    assert len(world.api.children()) == 8


async def test_pool_made_anew_while_its_end_is_noticed_is_kept(world: World) -> None:
    """A pool that turns out to be another one by now is read, and served in the next round."""
    await world.reconcile()
    world.api.remove(KIND, *KEY)
    world.api.remove("Service", *KEY)
    anew = _pool()
    anew["metadata"]["uid"] = "pool-2"
    world.api.put(anew)
    world.cache.put_child(world.seen.pop(("Service", KEY[1])), None)
    assert await world.reconcile() == 0.0
    assert world.api.writes == []
    assert await world.reconcile() == STARTING
    (owner,) = world.api.objects["Service", *KEY]["metadata"]["ownerReferences"]
    assert owner["uid"] == "pool-2"


async def test_unsettled_cache_answers_are_not_overwritten_by_older_ones(world: World) -> None:
    """A late event from before our own write does not take the pool back in time."""
    before = parse_pool(world.api.objects[KIND, *KEY])
    await world.reconcile()
    world.cache.put_pool(before)
    held = world.cache.pool(KEY)
    assert held is not None
    assert held.status

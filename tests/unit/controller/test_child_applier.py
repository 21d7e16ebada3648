"""The child applier, beyond what whole reconciles cover (reconciler/)."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from backendpool.api.constants import KIND
from backendpool.api.pool import Pool, PoolKey, parse_pool
from backendpool.children.manifest import KubernetesObject
from backendpool.controller.cache import Cache
from backendpool.controller.child_applier import Applied, ChildApplier
from backendpool.controller.event_recorder import EventRecorder, PoolEvent
from backendpool.controller.metrics import OperatorMetrics
from backendpool.controller.rollouts import RolloutLimiter
from backendpool.errors import Forbidden, NotFound, TooManyRequests, Unreachable
from backendpool.k8s.client import Api
from tests.fakes.clock import FakeClock
from tests.fakes.fake_api import FakeApi
from tests.fakes.objects import deployment, parsed_pool, pool, service_account

OTHER = ("default", "other")
QUOTA = Forbidden(403, "Forbidden", "exceeded quota: pods")


class Recorder(EventRecorder):
    """Keeps the recorded events."""

    def __init__(self) -> None:
        self.events: list[PoolEvent] = []

    def record(self, pool: Pool, event: PoolEvent) -> None:
        self.events.append(event)


class ApplierHarness:
    """An applier for one pool with its API server; watch events are delivered on request."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.registry = CollectorRegistry()
        self.recorder = Recorder()
        self.cache = Cache(lambda key: None, FakeClock().call_later)
        self.api.put(pool())
        self.admitted: list[PoolKey] = []
        self.rollouts = RolloutLimiter(1, self.admitted.append, FakeClock().call_later)
        self._applier = ChildApplier(
            cast("Api", self.api),
            self.cache,
            self.recorder,
            OperatorMetrics(self.registry),
            "backendpool/operator:test",
            self.rollouts,
        )

    def pool(self, **spec: Any) -> Pool:
        return parse_pool({**self.api.objects[KIND, "default", "greetserver"], "spec": pool(**spec)["spec"]})

    async def apply(self, pool: Pool | None = None) -> Applied:
        self.api.writes.clear()
        self.recorder.events.clear()
        return await self._applier.apply(pool or self.pool())

    def deliver(self) -> None:
        """Deliver the watch events of all children."""
        for child in self.api.children().values():
            self.cache.put_child(None, child)

    def child(self, kind: str, name: str) -> KubernetesObject:
        """Return a child as the watch delivered it."""
        return self.cache.children(("default", "greetserver"))[kind, name]

    def change(self, kind: str, name: str, **fields: Any) -> None:
        """Change a child as another client would, and deliver the event."""
        before = self.child(kind, name)
        self.cache.put_child(before, self.api.put({**before, **fields}))

    def reasons(self) -> list[str]:
        return [event.reason for event in self.recorder.events]

    def writes(self, verb: str, kind: str) -> float | None:
        return self.registry.get_sample_value("backendpool_child_writes_total", {"verb": verb, "kind": kind})


@pytest.fixture
async def harness() -> ApplierHarness:
    """An applier whose pool already has its children."""
    harness = ApplierHarness()
    await harness.apply()
    harness.deliver()
    return harness


async def test_everything_made_is_told_once() -> None:
    """A new pool gets one event that names all children, and each write is counted by kind."""
    harness = ApplierHarness()
    assert (await harness.apply()).status.applied
    (event,) = harness.recorder.events
    assert (event.reason, event.warning) == ("ChildrenApplied", False)
    assert "Service greetserver, ServiceAccount greetserver-lookaside" in event.note
    assert harness.writes("create", "Service") == 2


async def test_children_not_brought_by_the_watch_are_found() -> None:
    """An apply before the watch delivers the earlier writes does not repeat them."""
    harness = ApplierHarness()
    await harness.apply()
    assert (await harness.apply()).status.applied
    assert (harness.api.writes, harness.recorder.events) == ([], [])


async def test_refused_child_withholds_no_other() -> None:
    """If a quota rejects the Deployment, readers still get their permissions, and the error is retried."""
    harness = ApplierHarness()
    harness.api.refusals["create", "Deployment"] = QUOTA
    outcome = await harness.apply(harness.pool(readers=[{"serviceAccount": "gateway"}]))
    assert outcome.error is QUOTA
    assert outcome.status.failure == "The API server rejected a child (Forbidden): exceeded quota: pods"
    assert not outcome.status.applied
    assert ("RoleBinding", "greetserver-reader") in harness.api.children()
    assert ("Deployment", "greetserver-lookaside") not in harness.api.children()
    assert "Deployment" not in harness.recorder.events[0].note, "told is what was done"


async def test_refused_look_is_told_like_a_refused_write(harness: ApplierHarness) -> None:
    """A missing permission to get a child is reported like a rejected write."""
    harness.change("Service", "greetserver", spec={"type": "NodePort"})
    harness.api.refusals["get", "Service"] = QUOTA
    assert (await harness.apply()).status.failure.endswith("exceeded quota: pods")
    assert harness.api.writes == []


async def test_first_refusal_is_the_one_told() -> None:
    """The first of several rejections is reported, since later ones often follow from it."""
    harness = ApplierHarness()
    harness.api.refusals["create", "Role"] = QUOTA
    harness.api.refusals["create", "RoleBinding"] = TooManyRequests(429, "TooManyRequests", "slow down", 1.0)
    assert (await harness.apply()).error is QUOTA


async def test_outage_is_raised_at_once() -> None:
    """If the API server does not respond, the remaining children are not tried."""
    harness = ApplierHarness()
    harness.api.refusals["create", "Service"] = Unreachable("timed out")
    with pytest.raises(Unreachable):
        await harness.apply()
    assert len(harness.api.writes) == 1


async def test_removal_is_told(harness: ApplierHarness) -> None:
    """Children that the spec no longer needs are deleted by uid and reported in one event."""
    assert (await harness.apply(harness.pool(lookaside={"replicas": 1}))).status.applied
    assert ("delete", "PodDisruptionBudget", "greetserver-lookaside") in harness.api.writes
    assert harness.reasons() == ["ChildrenApplied", "Removed"]
    assert harness.writes("delete", "PodDisruptionBudget") == 1


async def test_removing_what_is_gone_is_no_failure(harness: ApplierHarness) -> None:
    """Deleting a child that is already gone succeeds."""
    harness.api.remove("PodDisruptionBudget", "default", "greetserver-lookaside")
    outcome = await harness.apply(harness.pool(lookaside={"replicas": 1}))
    assert (outcome.error, outcome.status.failure) == (None, "")


async def test_another_object_of_a_removed_name_is_spared(harness: ApplierHarness) -> None:
    """An object that took the name of a child between the read and the deletion is not deleted."""
    ref = ("PodDisruptionBudget", "default", "greetserver-lookaside")
    mine = harness.api.objects[ref]
    harness.api.put({**mine, "metadata": {**mine["metadata"], "uid": "another"}})
    outcome = await harness.apply(harness.pool(lookaside={"replicas": 1}))
    assert outcome.error is None
    assert ref in harness.api.objects


@pytest.mark.parametrize("change", ["edited", "deleted"])
async def test_repair_is_a_warning(harness: ApplierHarness, change: str) -> None:
    """Repairing an edited or deleted child posts a Warning event that names it."""
    if change == "edited":
        harness.change("Service", "greetserver", spec={"type": "NodePort"})
    else:
        harness.api.remove("Service", "default", "greetserver")
        harness.cache.put_child(harness.child("Service", "greetserver"), None)
    applied = {"type": "Reconciling", "reason": "Applied", "observedGeneration": 3}
    await harness.apply(replace(harness.pool(), status={"conditions": [applied]}))
    (event,) = harness.recorder.events
    assert (event.reason, event.warning) == ("DriftRepaired", True)
    assert "Service greetserver," in event.note


async def test_pool_made_anew_takes_its_children_over(harness: ApplierHarness) -> None:
    """A recreated pool takes over the children of the deleted pool without a gap."""
    harness.api.remove(KIND, "default", "greetserver")
    harness.api.put(pool(uid="pool-anew"))
    assert (await harness.apply()).status.applied
    owners = [child["metadata"]["ownerReferences"][0]["uid"] for child in harness.api.children().values()]
    assert set(owners) == {"pool-anew"}
    assert {verb for verb, _, _ in harness.api.writes} == {"merge", "apply"}


async def test_nothing_is_made_for_a_pool_that_another_replaced() -> None:
    """No child is created for a pool that was replaced by one with the same name."""
    harness = ApplierHarness()
    with pytest.raises(NotFound, match="default/greetserver was replaced by another pool with this name"):
        await harness.apply(replace(harness.pool(), uid="ghost", status={"observedGeneration": 3}))
    assert harness.api.writes == []


async def test_foreign_object_that_the_watch_does_not_show_ends_it() -> None:
    """If a child's name turns out to be taken by a foreign object, no further child is created and no pod starts."""
    harness = ApplierHarness()
    foreign = harness.api.put(service_account("greetserver-lookaside"))
    outcome = await harness.apply()
    assert "left alone: ServiceAccount greetserver-lookaside" in outcome.status.conflict
    assert outcome.requeue_after
    assert harness.api.children() == {
        ("Service", "greetserver"): harness.api.children()["Service", "greetserver"],
        ("ServiceAccount", "greetserver-lookaside"): foreign,
    }
    assert harness.reasons() == ["ChildrenApplied"]


async def test_bad_spec_touches_nothing(harness: ApplierHarness) -> None:
    """With a spec that cannot be read, existing children are kept."""
    harness.api.remove("Service", "default", "greetserver")
    outcome = await harness.apply(harness.pool(policy="Psychic"))
    assert (harness.api.writes, outcome.error, outcome.status.applied) == ([], None, False)


async def test_available_replicas_are_the_deployments(harness: ApplierHarness) -> None:
    """The lookaside's availability is read from the Deployment's status."""
    assert (await harness.apply()).status.lookaside_available == 0
    harness.change("Deployment", "greetserver-lookaside", status={"availableReplicas": 2})
    assert (await harness.apply()).status.lookaside_available == 2


def roll_out(harness: ApplierHarness) -> None:
    """Deliver a Deployment that is up to date and available."""
    ref = ("Deployment", "default", "greetserver-lookaside")
    counts = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
    harness.cache.put_child(None, harness.api.put({**harness.api.objects[ref], "status": counts}))


async def test_lookaside_waits_for_its_turn() -> None:
    """At the limit of rollouts, all children but the Deployment are created, and the Deployment follows when a slot is
    free.
    """
    harness = ApplierHarness()
    harness.rollouts.admit(OTHER)
    applied = await harness.apply()
    assert (applied.status.applied, applied.status.rollout_pending, applied.error) == (True, True, None)
    assert "Deployment" not in {kind for _, kind, _ in harness.api.writes}
    assert ("create", "ConfigMap", "greetserver-xds") in harness.api.writes
    harness.rollouts.finish(OTHER)
    assert harness.admitted == [("default", "greetserver")]
    assert not (await harness.apply()).status.rollout_pending
    assert ("create", "Deployment", "greetserver-lookaside") in harness.api.writes


async def test_rollout_makes_room_when_it_is_complete(harness: ApplierHarness) -> None:
    """A rollout releases its slot when it is complete, and not before."""
    await harness.apply()
    assert not harness.rollouts.admit(OTHER)
    await harness.apply()
    assert harness.admitted == []
    roll_out(harness)
    await harness.apply()
    assert harness.admitted == [OTHER]


async def test_repair_of_a_lookaside_does_not_wait(harness: ApplierHarness) -> None:
    """Repairing a manual change does not wait for a slot; a changed spec or image does."""
    await harness.apply()
    roll_out(harness)
    await harness.apply()
    harness.rollouts.admit(OTHER)
    ref = ("Deployment", "default", "greetserver-lookaside")
    edited = copy.deepcopy(harness.api.objects[ref])
    edited["spec"]["template"]["spec"]["containers"][0]["image"] = "evil"
    harness.cache.put_child(harness.api.objects[ref], harness.api.put(edited))
    assert not (await harness.apply()).status.rollout_pending
    assert ("apply", "Deployment", "greetserver-lookaside") in harness.api.writes
    harness.cache.put_child(edited, harness.api.objects[ref])
    roll_out(harness)
    await harness.apply()
    changed = await harness.apply(harness.pool(lookaside={"port": 50056}))
    assert changed.status.rollout_pending
    assert ("apply", "Deployment", "greetserver-lookaside") not in harness.api.writes


async def test_refused_rollout_makes_room() -> None:
    """A Deployment that the API server rejects releases its slot."""
    harness = ApplierHarness()
    harness.api.refusals["create", "Deployment"] = QUOTA
    await harness.apply()
    assert harness.rollouts.admit(OTHER)


DEPLOYMENT = ("Deployment", "default", "greetserver-lookaside")


async def settled_world() -> ApplierHarness:
    """A pool whose lookaside is rolled out, while another pool holds the only slot."""
    harness = ApplierHarness()
    await harness.apply()
    roll_out(harness)
    await harness.apply()
    harness.rollouts.admit(OTHER)
    return harness


READY = {"type": "LookasideAvailable", "status": "True", "reason": "LookasideReady", "message": "."}


async def test_deleted_lookaside_does_not_wait() -> None:
    """A deleted lookaside is created again at once, whatever the number of rollouts."""
    harness = await settled_world()
    harness.cache.put_child(harness.api.objects[DEPLOYMENT], None)
    harness.api.remove(*DEPLOYMENT)
    applied = await harness.apply(replace(harness.pool(), status={"conditions": [READY]}))
    assert not applied.status.rollout_pending
    assert ("create", "Deployment", "greetserver-lookaside") in harness.api.writes


async def test_lookaside_that_waits_is_scaled_and_taken_over() -> None:
    """While the pod template waits for a slot, replicas, labels and owner are still repaired."""
    harness = await settled_world()
    before = harness.api.objects[DEPLOYMENT]
    edited = copy.deepcopy(before)
    edited["spec"]["replicas"] = 0
    harness.cache.put_child(before, harness.api.put(edited))
    anew = replace(harness.pool(lookaside={"port": 50056}), uid="anew")
    assert (await harness.apply(anew)).status.rollout_pending
    live = harness.api.objects[DEPLOYMENT]
    assert live["spec"]["replicas"] == 2
    assert live["metadata"]["ownerReferences"][0]["uid"] == "anew"
    assert live["spec"]["template"] == before["spec"]["template"]
    harness.cache.put_child(edited, live)
    assert (await harness.apply(anew)).status.rollout_pending
    assert harness.api.writes == [], "what is done while it waits is done once"
    harness.rollouts.finish(OTHER)
    assert not (await harness.apply(anew)).status.rollout_pending
    ports = harness.api.objects[DEPLOYMENT]["spec"]["template"]["spec"]["containers"][0]["ports"]
    assert {"containerPort": 50056, "name": "grpc", "protocol": "TCP"} in ports


async def test_fewer_replicas_are_no_rollout() -> None:
    """Scaling down starts no pod, so it needs no slot."""
    harness = await settled_world()
    assert not (await harness.apply(harness.pool(lookaside={"replicas": 1}))).status.rollout_pending
    assert harness.api.objects[DEPLOYMENT]["spec"]["replicas"] == 1


@pytest.mark.parametrize("trouble", ["conflict", "bad spec", "deletion"])
async def test_pool_that_does_not_roll_out_holds_no_place(trouble: str) -> None:
    """A pool that cannot roll out, for whatever reason, releases its slot."""
    harness = ApplierHarness()
    harness.rollouts.admit(("default", "greetserver"))
    if trouble == "conflict":
        harness.api.put(deployment("greetserver-lookaside"))
        await harness.apply()
    elif trouble == "bad spec":
        await harness.apply(harness.pool(policy="Newer"))
    else:
        del harness.api.objects[KIND, "default", "greetserver"]
        with pytest.raises(NotFound):
            await harness.apply(parsed_pool(status={"observedGeneration": 3}))
    assert harness.rollouts.admit(OTHER)


async def test_rollout_of_the_leader_before_counts() -> None:
    """Rollouts that an earlier leader began count toward the limit."""
    harness = ApplierHarness()
    await harness.apply()
    harness.deliver()
    harness.rollouts = harness._applier._rollouts = RolloutLimiter(1, harness.admitted.append, FakeClock().call_later)
    await harness.apply()
    assert not harness.rollouts.admit(OTHER)


async def test_refused_lookaside_does_not_wait_to_be_tried_again() -> None:
    """A rejected lookaside keeps its condition and backoff instead of alternating with RolloutPending."""
    harness = ApplierHarness()
    harness.rollouts.admit(OTHER)
    harness.api.refusals["create", "Deployment"] = QUOTA
    refused = {"conditions": [{"type": "Reconciling", "status": "True", "reason": "ApplyFailed", "message": "."}]}
    assert (await harness.apply(replace(harness.pool(), status=refused))).error is QUOTA

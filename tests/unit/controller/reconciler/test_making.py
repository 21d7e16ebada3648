"""One reconcile: children applied, status written, nothing written twice."""

from __future__ import annotations

from backendpool.api.constants import KIND
from backendpool.api.pool import parse_pool
from backendpool.children.lookaside import selector_labels
from tests.fakes.objects import parsed_slice, pod
from tests.unit.controller.reconciler.harness import KEY, STARTING, ReconcilerHarness


async def test_new_pool_gets_its_children_and_a_status(harness: ReconcilerHarness) -> None:
    """The first reconcile creates every child once, the Deployment last, and writes the status once."""
    assert await harness.reconcile() == STARTING
    made = [(kind, name) for verb, kind, name in harness.api.writes if verb == "create"]
    assert made[0] == ("Service", "greetserver")
    assert made[-1] == ("Deployment", "greetserver-lookaside")
    assert len(made) == len(set(made)) == 8
    assert [w for w in harness.api.writes if w[0] == "status"] == [("status", KIND, "greetserver")]


async def test_second_reconcile_writes_nothing(harness: ReconcilerHarness) -> None:
    """A reconcile of an unchanged pool writes nothing, so a restart or a relist costs no write."""
    await harness.reconcile()
    await harness.reconcile()
    assert harness.api.writes == []


async def test_own_writes_do_not_bring_the_pool_back(harness: ReconcilerHarness) -> None:
    """The watch event of the operator's own status write does not requeue the pool."""
    await harness.reconcile()
    harness.enqueued.clear()
    harness.deliver()
    assert harness.enqueued == []


async def test_first_status_has_the_endpoints_that_are_there(harness: ReconcilerHarness) -> None:
    """The first status has the endpoints: the response to creating the Service is used before its watch event."""
    harness.cache.put_slice(None, parsed_slice("10.0.0.1", namespace=KEY[0]))
    await harness.reconciler.reconcile(KEY)
    assert harness.addresses == ["10.0.0.1"]


async def test_what_ails_the_lookaside_reaches_the_status(harness: ReconcilerHarness) -> None:
    """The reason why a lookaside pod does not start is in the condition, and the pool is requeued."""
    await harness.reconcile()
    waiting = {"reason": "ErrImagePull", "message": "no such image"}
    labels = selector_labels(parse_pool(harness.pool))
    harness.api.put(pod("greetserver-lookaside-1", namespace=KEY[0], labels=labels, state={"waiting": waiting}))
    harness.seconds += STARTING
    assert await harness.reconcile() == 15.0
    condition = harness.condition("LookasideAvailable")
    assert condition["reason"] == "LookasideUnavailable"
    assert "pod greetserver-lookaside-1 does not start (ErrImagePull): no such image" in condition["message"]


async def test_spec_of_an_unknown_policy_stalls(harness: ReconcilerHarness) -> None:
    """A spec with an unknown policy changes no child and sets Stalled."""
    await harness.reconcile()
    harness.api.put(
        {**harness.api.objects[KIND, *KEY], "spec": {"selector": {"a": "b"}, "port": 1, "policy": "Psychic"}}
    )
    harness.deliver()
    await harness.reconcile()
    assert harness.condition("Stalled")["reason"] == "InvalidSpec"
    assert len(harness.api.children()) == 8


async def test_changed_child_is_put_right(harness: ReconcilerHarness) -> None:
    """An edited child is applied again, and no other."""
    await harness.reconcile()
    service = harness.api.objects["Service", *KEY]
    harness.api.put({**service, "spec": {**service["spec"], "selector": {"run": "other"}}})
    harness.deliver()
    await harness.reconcile()
    assert harness.api.writes == [("merge", "Service", "greetserver"), ("apply", "Service", "greetserver")]
    assert harness.api.objects["Service", *KEY]["spec"]["selector"] == {"run": "greetserver"}


async def test_children_no_longer_asked_for_are_removed(harness: ReconcilerHarness) -> None:
    """Without a lookaside and readers, only the headless Service remains."""
    await harness.reconcile()
    harness.api.objects[KIND, *KEY]["spec"]["lookaside"] = {"replicas": 0}
    harness.api.objects[KIND, *KEY]["metadata"]["generation"] = 2
    harness.api.put(harness.api.objects[KIND, *KEY])
    harness.deliver()
    await harness.reconcile()
    assert set(harness.api.children()) == {("Service", "greetserver")}
    assert harness.condition("LookasideAvailable")["reason"] == "Disabled"

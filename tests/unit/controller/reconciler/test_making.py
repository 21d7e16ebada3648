"""One reconcile: children applied, status written, nothing done twice."""

from __future__ import annotations

from backendpool.api.constants import KIND
from backendpool.api.endpoint_slices import Slice
from backendpool.api.endpoints import Endpoint
from backendpool.api.pool import parse_pool
from backendpool.children.lookaside import selector_labels
from tests.unit.controller.reconciler.world import KEY, STARTING, World


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


async def test_first_status_has_the_endpoints_that_are_there(world: World) -> None:
    """What the API server answers to the making of the Service is known at once, though not yet by the watch."""
    world.cache.put_slice(None, Slice(KEY[0], "s1", KEY[1], "IPv4", (Endpoint("10.0.0.1", 50051),)))
    await world.reconciler.reconcile(KEY)
    assert world.addresses == ["10.0.0.1"]


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


async def test_spec_of_an_unknown_policy_stalls(world: World) -> None:
    """A spec that this version does not understand changes nothing, and says so."""
    await world.reconcile()
    world.api.put({**world.api.objects[KIND, *KEY], "spec": {"selector": {"a": "b"}, "port": 1, "policy": "Psychic"}})
    world.deliver()
    await world.reconcile()
    assert world.condition("Stalled")["reason"] == "InvalidSpec"
    assert len(world.api.children()) == 8


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

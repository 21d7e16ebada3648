"""Endpoints on their way to the status."""

from __future__ import annotations

from backendpool.api.constants import KIND
from backendpool.api.endpoint_slices import REMOVAL_GRACE_SECONDS, Slice
from backendpool.api.endpoints import Endpoint
from tests.unit.controller.reconciler.world import KEY, World


async def test_endpoints_reach_the_status(world: World) -> None:
    """A slice of the pool's Service becomes the sorted list in the status, by one write."""
    await world.reconcile()
    world.slices(Endpoint("10.0.0.2", 50051), Endpoint("10.0.0.1", 50051))
    await world.reconcile()
    assert world.addresses == ["10.0.0.1", "10.0.0.2"]
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
    assert world.addresses == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    world.slices(moving, name="s2")
    world.clock.advance(REMOVAL_GRACE_SECONDS)
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
    world.clock.advance(REMOVAL_GRACE_SECONDS)
    assert world.enqueued == [KEY]
    await world.reconcile()
    assert world.addresses == ["10.0.0.2"]


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
    assert world.addresses == ["10.0.0.1"]
    assert world.condition("EndpointsAvailable")["status"] == "Unknown"


async def test_slices_of_a_deleted_service_do_not_count(world: World) -> None:
    """A Service made anew is not judged by what is left of the old one's slices."""
    await world.reconcile()
    stale = Slice(KEY[0], "old", KEY[1], "IPv4", (Endpoint("10.9.9.9", 50051),), owner_uid="gone")
    world.cache.put_slice(None, stale)
    world.slices(Endpoint("10.0.0.1", 50051))
    await world.reconcile()
    assert world.addresses == ["10.0.0.1"]


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
    assert world.addresses == ["10.0.0.1"]

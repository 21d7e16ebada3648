"""Reconciles that meet what is not the pool's, what is gone, and what the API server refuses."""

from __future__ import annotations

import pytest

from backendpool.endpoints import Endpoint
from backendpool.errors import Forbidden, Unreachable
from backendpool.names import KIND
from backendpool.pool import parse_pool
from tests.unit.reconcile.world import KEY, STARTING, World, pool


async def test_foreign_service_is_left_alone(world: World) -> None:
    """A Service of the pool's name that is not its own stops the pool, and is not touched."""
    foreign = world.api.put({"kind": "Service", "metadata": {"namespace": KEY[0], "name": KEY[1]}, "spec": {}})
    again = await world.reconcile()
    assert world.condition("Stalled")["reason"] == "Conflict"
    assert "Service greetserver" in world.condition("Stalled")["message"]
    assert world.api.objects["Service", *KEY] == foreign
    assert [w for w in world.api.writes if w[0] != "status"] == []
    assert again, "no watch tells when the foreign Service goes, so the pool is looked at again"


async def test_conflict_ends_with_the_foreign_object(world: World) -> None:
    """When the foreign Service is gone the pool comes up."""
    world.api.put({"kind": "Service", "metadata": {"namespace": KEY[0], "name": KEY[1]}, "spec": {}})
    await world.reconcile()
    del world.api.objects["Service", *KEY]
    assert await world.reconcile() == STARTING
    assert world.condition("Stalled")["status"] == "False"


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


async def test_pool_in_deletion_is_left_alone(world: World) -> None:
    """Foreground deletion waits for the children: they are not made anew under it."""
    await world.reconcile()
    world.api.objects[KIND, *KEY]["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    world.api.put(world.api.objects[KIND, *KEY])
    del world.api.objects["Service", *KEY]
    world.deliver()
    await world.reconcile()
    assert world.api.writes == []


async def test_pool_made_anew_while_its_end_is_noticed_is_kept(world: World) -> None:
    """A pool that turns out to be another one by now is read, and served in the next round."""
    await world.reconcile()
    world.api.remove(KIND, *KEY)
    world.api.remove("Service", *KEY)
    anew = pool()
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

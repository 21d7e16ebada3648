"""Reconciles that meet what is not the pool's, what is gone, and what the API server refuses."""

from __future__ import annotations

from typing import Never

import pytest

from backendpool.api.constants import KIND
from backendpool.api.endpoints import Endpoint
from backendpool.api.pool import parse_pool
from backendpool.controller import child_applier, reconciler
from backendpool.errors import Forbidden, Unreachable
from tests.unit.controller.reconciler.harness import KEY, STARTING, ReconcilerHarness, pool


async def test_foreign_service_is_left_alone(harness: ReconcilerHarness) -> None:
    """A Service of the pool's name that is not its own stops the pool, and is not touched."""
    foreign = harness.api.put({"kind": "Service", "metadata": {"namespace": KEY[0], "name": KEY[1]}, "spec": {}})
    again = await harness.reconcile()
    assert harness.condition("Stalled")["reason"] == "Conflict"
    assert "Service greetserver" in harness.condition("Stalled")["message"]
    assert harness.api.objects["Service", *KEY] == foreign
    assert [w for w in harness.api.writes if w[0] != "status"] == []
    assert again, "no watch tells when the foreign Service goes, so the pool is looked at again"


async def test_conflict_ends_with_the_foreign_object(harness: ReconcilerHarness) -> None:
    """When the foreign Service is gone the pool comes up."""
    harness.api.put({"kind": "Service", "metadata": {"namespace": KEY[0], "name": KEY[1]}, "spec": {}})
    await harness.reconcile()
    del harness.api.objects["Service", *KEY]
    assert await harness.reconcile() == STARTING
    assert harness.condition("Stalled")["status"] == "False"


async def test_refused_child_is_told_and_retried(harness: ReconcilerHarness) -> None:
    """A refusal stands in the status with the server's sentence, and the pool comes back."""
    harness.api.refusals["create", "Deployment"] = Forbidden(403, "Forbidden", "exceeded quota: pods")
    with pytest.raises(Forbidden):
        await harness.reconcile()
    assert harness.condition("Ready")["reason"] == "ApplyFailed"
    assert "exceeded quota" in harness.condition("Ready")["message"]


async def test_outage_writes_nothing_false(harness: ReconcilerHarness) -> None:
    """When the API server is away the reconcile fails and the status stays as it was."""
    await harness.reconcile()
    before = harness.status
    harness.slices(Endpoint("10.0.0.1", 50051))
    harness.api.refusals["status", KIND] = Unreachable("connection refused")
    with pytest.raises(Unreachable):
        await harness.reconcile()
    assert harness.status == before


async def test_status_conflict_reads_again_and_comes_back(harness: ReconcilerHarness) -> None:
    """A pool that changed under the write is read anew without waiting for its watch."""
    harness.api.put(harness.api.objects[KIND, *KEY])
    assert await harness.reconcile() == 0.0
    assert await harness.reconcile() == STARTING
    assert harness.condition("Ready")["status"] == "False"


async def test_pool_deleted_unseen_gets_no_new_children(harness: ReconcilerHarness) -> None:
    """A pool whose deletion nobody saw is found to be gone before anything is made for it."""
    await harness.reconcile()
    del harness.api.objects[KIND, *KEY]
    harness.api.remove("Service", *KEY)
    harness.deliver()
    assert await harness.reconcile() is None
    assert harness.api.writes == []
    assert harness.cache.pool(KEY) is None


async def test_new_pool_deleted_unseen_is_served_once(harness: ReconcilerHarness) -> None:
    """What is made for a pool before its first status is the cluster's to collect, and is not made a second time."""
    del harness.api.objects[KIND, *KEY]
    assert await harness.reconcile() is None
    assert harness.cache.pool(KEY) is None
    assert await harness.reconcile() is None
    assert harness.api.writes == []


async def test_pool_in_deletion_is_left_alone(harness: ReconcilerHarness) -> None:
    """Foreground deletion waits for the children: they are not made anew under it."""
    await harness.reconcile()
    harness.api.objects[KIND, *KEY]["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    harness.api.put(harness.api.objects[KIND, *KEY])
    del harness.api.objects["Service", *KEY]
    harness.deliver()
    await harness.reconcile()
    assert harness.api.writes == []


async def test_pool_made_anew_while_its_end_is_noticed_is_kept(harness: ReconcilerHarness) -> None:
    """A pool that turns out to be another one by now is read, and served in the next round."""
    await harness.reconcile()
    harness.api.remove(KIND, *KEY)
    harness.api.remove("Service", *KEY)
    anew = pool()
    anew["metadata"]["uid"] = "pool-2"
    harness.api.put(anew)
    harness.cache.put_child(harness.seen.pop(("Service", KEY[1])), None)
    assert await harness.reconcile() == 0.0
    assert harness.api.writes == []
    assert await harness.reconcile() == STARTING
    (owner,) = harness.api.objects["Service", *KEY]["metadata"]["ownerReferences"]
    assert owner["uid"] == "pool-2"


async def test_unsettled_cache_answers_are_not_overwritten_by_older_ones(harness: ReconcilerHarness) -> None:
    """A late event from before our own write does not take the pool back in time."""
    before = parse_pool(harness.api.objects[KIND, *KEY])
    await harness.reconcile()
    harness.cache.put_pool(before)
    held = harness.cache.pool(KEY)
    assert held is not None
    assert held.status


def break_planning(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def plan(*_: object) -> Never:
        raise error

    monkeypatch.setattr(child_applier, "plan", plan)


async def test_bug_is_told_in_the_pools_condition(harness: ReconcilerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw is raised, to be retried, and the pool says so; its endpoints reach the status anyway."""
    await harness.reconcile()
    harness.slices(Endpoint("10.0.0.1", 50051))
    break_planning(monkeypatch, OverflowError("1e1000000"))
    with pytest.raises(OverflowError):
        await harness.reconcile()
    assert harness.addresses == ["10.0.0.1"]
    assert harness.condition("Reconciling")["status"] == "True"
    assert harness.condition("Reconciling")["reason"] == harness.condition("Ready")["reason"] == "ReconcileError"
    assert "OverflowError('1e1000000')" in harness.condition("Ready")["message"]
    assert harness.condition("EndpointsAvailable")["status"] == "True"
    with pytest.raises(OverflowError):
        await harness.reconcile()
    assert harness.api.writes == [], "what was told is not told again"
    monkeypatch.undo()
    await harness.reconcile()
    assert harness.condition("Reconciling")["reason"] == "Applied"


async def test_bug_that_concerns_endpoints_keeps_the_last_ones(
    harness: ReconcilerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slice that nobody foresaw takes no backend from anybody."""
    await harness.reconcile()
    harness.slices(Endpoint("10.0.0.1", 50051))
    await harness.reconcile()

    def union(*_: object) -> Never:
        raise TypeError

    monkeypatch.setattr(reconciler, "union", union)
    with pytest.raises(TypeError):
        await harness.reconcile()
    assert harness.addresses == ["10.0.0.1"]
    assert harness.condition("Ready")["reason"] == "ReconcileError"


async def test_bug_that_cannot_be_reported_is_raised_itself(
    harness: ReconcilerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error to look for is the first one, whatever becomes of telling it."""
    break_planning(monkeypatch, KeyError("first"))
    harness.api.refusals["status", KIND] = Unreachable("connection refused")
    with pytest.raises(KeyError, match="first"):
        await harness.reconcile()


async def test_message_of_a_bug_is_short_and_plain(harness: ReconcilerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception may quote what a tenant wrote: at any length, and with what moves a terminal's cursor."""
    break_planning(monkeypatch, ValueError("\x1b[2J" * 1000))
    with pytest.raises(ValueError, match="2J"):
        await harness.reconcile()
    message = harness.condition("Ready")["message"]
    assert len(message) < 500
    assert message.isprintable()

"""Reconciles with foreign objects, deleted pools, and rejected requests."""

from __future__ import annotations

from typing import Never

import pytest

from backendpool.api.constants import KIND
from backendpool.api.pool import parse_pool
from backendpool.controller import child_applier, reconciler
from backendpool.errors import Forbidden, Unreachable
from tests.fakes.objects import pool, service
from tests.unit.controller.reconciler.harness import KEY, STARTING, ReconcilerHarness


async def test_foreign_service_is_left_alone(harness: ReconcilerHarness) -> None:
    """A foreign Service with the pool's name stalls the pool and is not changed."""
    foreign = harness.api.put(service(KEY[1], namespace=KEY[0]))
    again = await harness.reconcile()
    assert harness.condition("Stalled")["reason"] == "Conflict"
    assert "Service greetserver" in harness.condition("Stalled")["message"]
    assert harness.api.objects["Service", *KEY] == foreign
    assert [w for w in harness.api.writes if w[0] != "status"] == []
    assert again, "no watch tells when the foreign Service goes, so the pool is looked at again"


async def test_conflict_ends_with_the_foreign_object(harness: ReconcilerHarness) -> None:
    """The pool becomes ready when the foreign Service is deleted."""
    harness.api.put(service(KEY[1], namespace=KEY[0]))
    await harness.reconcile()
    del harness.api.objects["Service", *KEY]
    assert await harness.reconcile() == STARTING
    assert harness.condition("Stalled")["status"] == "False"


async def test_refused_child_is_told_and_retried(harness: ReconcilerHarness) -> None:
    """A rejected child is reported in the status with the API server's message, and the pool is retried."""
    harness.api.refusals["create", "Deployment"] = Forbidden(403, "Forbidden", "exceeded quota: pods")
    with pytest.raises(Forbidden):
        await harness.reconcile()
    assert harness.condition("Ready")["reason"] == "ApplyFailed"
    assert "exceeded quota" in harness.condition("Ready")["message"]


async def test_outage_writes_nothing_false(harness: ReconcilerHarness) -> None:
    """During an outage of the API server the reconcile fails and the status is not changed."""
    await harness.reconcile()
    before = harness.status
    harness.put_slice("10.0.0.1")
    harness.api.refusals["status", KIND] = Unreachable("connection refused")
    with pytest.raises(Unreachable):
        await harness.reconcile()
    assert harness.status == before


async def test_status_conflict_reads_again_and_comes_back(harness: ReconcilerHarness) -> None:
    """After a conflict, the pool is read again without waiting for its watch."""
    harness.api.put(harness.api.objects[KIND, *KEY])
    assert await harness.reconcile() == 0.0
    assert await harness.reconcile() == STARTING
    assert harness.condition("Ready")["status"] == "False"


async def test_pool_deleted_unseen_gets_no_new_children(harness: ReconcilerHarness) -> None:
    """A pool whose deletion the watch has not reported gets no new children."""
    await harness.reconcile()
    del harness.api.objects[KIND, *KEY]
    harness.api.remove("Service", *KEY)
    harness.deliver()
    assert await harness.reconcile() is None
    assert harness.api.writes == []
    assert harness.cache.pool(KEY) is None


async def test_new_pool_deleted_unseen_is_served_once(harness: ReconcilerHarness) -> None:
    """Children created for a new pool that is already deleted are garbage-collected and not created again."""
    del harness.api.objects[KIND, *KEY]
    assert await harness.reconcile() is None
    assert harness.cache.pool(KEY) is None
    assert await harness.reconcile() is None
    assert harness.api.writes == []


async def test_pool_in_deletion_is_left_alone(harness: ReconcilerHarness) -> None:
    """During foreground deletion, the children are not created again."""
    await harness.reconcile()
    harness.api.objects[KIND, *KEY]["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    harness.api.put(harness.api.objects[KIND, *KEY])
    del harness.api.objects["Service", *KEY]
    harness.deliver()
    await harness.reconcile()
    assert harness.api.writes == []


async def test_pool_made_anew_while_its_end_is_noticed_is_kept(harness: ReconcilerHarness) -> None:
    """A pool that was replaced by one with the same name is read and served by the next reconcile."""
    await harness.reconcile()
    harness.api.remove(KIND, *KEY)
    harness.api.remove("Service", *KEY)
    harness.api.put(pool(KEY[1], namespace=KEY[0], uid="pool-2"))
    harness.cache.put_child(harness.seen.pop(("Service", KEY[1])), None)
    assert await harness.reconcile() == 0.0
    assert harness.api.writes == []
    assert await harness.reconcile() == STARTING
    (owner,) = harness.api.objects["Service", *KEY]["metadata"]["ownerReferences"]
    assert owner["uid"] == "pool-2"


async def test_unsettled_cache_answers_are_not_overwritten_by_older_ones(harness: ReconcilerHarness) -> None:
    """A late watch event from before the operator's own write does not replace the newer state."""
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
    """An unexpected error is raised for a retry and reported in the condition; endpoints are still published."""
    await harness.reconcile()
    harness.put_slice("10.0.0.1")
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
    """If an unexpected slice prevents computing the endpoints, the last ones are kept."""
    await harness.reconcile()
    harness.put_slice("10.0.0.1")
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
    """If reporting an error fails too, the original error is raised."""
    break_planning(monkeypatch, KeyError("first"))
    harness.api.refusals["status", KIND] = Unreachable("connection refused")
    with pytest.raises(KeyError, match="first"):
        await harness.reconcile()


async def test_message_of_a_bug_is_short_and_plain(harness: ReconcilerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in a condition is cut, and its control characters are escaped, since it may quote a tenant."""
    break_planning(monkeypatch, ValueError("\x1b[2J" * 1000))
    with pytest.raises(ValueError, match="2J"):
        await harness.reconcile()
    message = harness.condition("Ready")["message"]
    assert len(message) < 500
    assert message.isprintable()

"""From EndpointSlices to the status."""

from __future__ import annotations

from backendpool.api.constants import KIND
from backendpool.api.endpoint_slices import REMOVAL_GRACE_SECONDS
from tests.fakes.objects import parsed_slice
from tests.unit.controller.reconciler.harness import KEY, ReconcilerHarness


async def test_endpoints_reach_the_status(harness: ReconcilerHarness) -> None:
    """The endpoints of a slice are written to the status, sorted, with one write."""
    await harness.reconcile()
    harness.put_slice("10.0.0.2", "10.0.0.1")
    await harness.reconcile()
    assert harness.addresses == ["10.0.0.1", "10.0.0.2"]
    assert harness.api.writes == [("status", KIND, "greetserver")]


async def test_endpoint_that_moves_is_not_written_out(harness: ReconcilerHarness) -> None:
    """An endpoint that moves between slices stays in the status, even if a reconcile runs between its two events."""
    await harness.reconcile()
    moving, staying, new = (f"10.0.0.{n}" for n in (1, 2, 3))
    harness.put_slice(moving, staying, name="s1")
    harness.put_slice(name="s2")
    await harness.reconcile()
    harness.put_slice(staying, new, name="s1")
    await harness.reconcile()
    assert harness.addresses == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    harness.put_slice(moving, name="s2")
    harness.clock.advance(REMOVAL_GRACE_SECONDS)
    await harness.reconcile()
    assert harness.api.writes == []


async def test_endpoint_that_vanished_is_written_out(harness: ReconcilerHarness) -> None:
    """An endpoint that is in no slice stays for the removal grace, then the pool is requeued and it is removed."""
    await harness.reconcile()
    harness.put_slice("10.0.0.1", "10.0.0.2")
    await harness.reconcile()
    harness.enqueued.clear()
    harness.put_slice("10.0.0.2")
    assert harness.enqueued == []
    harness.clock.advance(REMOVAL_GRACE_SECONDS)
    assert harness.enqueued == [KEY]
    await harness.reconcile()
    assert harness.addresses == ["10.0.0.2"]


async def test_deleted_service_keeps_the_last_endpoints(harness: ReconcilerHarness) -> None:
    """While the Service is missing, the endpoints are unknown and the status keeps the last ones."""
    await harness.reconcile()
    harness.put_slice("10.0.0.1")
    await harness.reconcile()
    del harness.api.objects["Service", *KEY]
    old = harness.cache.slices(KEY)[0]
    harness.cache.put_slice(old, None)
    harness.deliver()
    await harness.reconcile()
    assert ("create", "Service", "greetserver") in harness.api.writes
    assert harness.addresses == ["10.0.0.1"]
    assert harness.condition("EndpointsAvailable")["status"] == "Unknown"


async def test_slices_of_a_deleted_service_do_not_count(harness: ReconcilerHarness) -> None:
    """Slices of a deleted Service do not count for a new one with the same name."""
    await harness.reconcile()
    stale = parsed_slice("10.9.9.9", name="old", namespace=KEY[0], service_uid="gone")
    harness.cache.put_slice(None, stale)
    harness.put_slice("10.0.0.1")
    await harness.reconcile()
    assert harness.addresses == ["10.0.0.1"]


async def test_foreign_service_gives_no_endpoints(harness: ReconcilerHarness) -> None:
    """The endpoints of a foreign Service are not published, even with the pool's name and label."""
    await harness.reconcile()
    harness.put_slice("10.0.0.1")
    await harness.reconcile()
    owned = harness.api.objects["Service", *KEY]
    harness.api.put({**owned, "metadata": {**owned["metadata"], "uid": "foreign", "ownerReferences": []}})
    harness.put_slice("10.6.6.6", name="foreign")
    harness.deliver()
    await harness.reconcile()
    assert harness.condition("Stalled")["reason"] == "Conflict"
    assert harness.addresses == ["10.0.0.1"]

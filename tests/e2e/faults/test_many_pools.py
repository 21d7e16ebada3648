"""Many pools applied at once, on nodes with little spare CPU."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tools.cluster.kubectl import Kubectl, eventually
from tools.demo import pools

pytestmark = [pytest.mark.alone, pytest.mark.faults]

POOLS = 30
REPLICAS = 2
LOOKASIDES = "app.kubernetes.io/component=lookaside"


def test_thirty_pools_start_at_once(kubectl_with_operator: Kubectl, namespace: str) -> None:
    """When thirty pools are created at once, rollouts wait for each other, and all replicas start without a restart."""
    waited = set[str]()
    begun = time.monotonic()
    kubectl_with_operator.apply(*(pools.pool(namespace, f"pool-{number:02d}") for number in range(POOLS)))

    def all_available() -> bool:
        waited.update(_waiting(kubectl_with_operator, namespace))
        found = kubectl_with_operator.json("get", "deployments", f"--namespace={namespace}", f"--selector={LOOKASIDES}")
        available = [deployment["status"].get("availableReplicas", 0) for deployment in found["items"]]
        assert sum(available) == POOLS * REPLICAS, f"{sum(available)} of {POOLS * REPLICAS} lookasides are available"
        return True

    eventually("all lookasides available", all_available, timeout=900, every=2)
    print(f"{POOLS * REPLICAS} lookaside pods are available after {time.monotonic() - begun:.0f} s")
    assert _restarts(kubectl_with_operator.reader.pods(namespace, pools.LOOKASIDES)) == {}
    assert waited, "no pool said RolloutPending"


def _waiting(kubectl: Kubectl, namespace: str) -> list[str]:
    """Return the pools that wait for the rollouts of others."""
    found = kubectl.json("get", "grpcbackendpools", f"--namespace={namespace}")["items"]
    reasons = {one["metadata"]["name"]: pools.condition(one, "Reconciling").get("reason") for one in found}
    return [name for name, reason in reasons.items() if reason == "RolloutPending"]


def _restarts(found: list[dict[str, Any]]) -> dict[str, int]:
    """Return the restarts of each pod by its name, without pods that have none."""
    counts = {
        pod["metadata"]["name"]: sum(one["restartCount"] for one in pod["status"].get("containerStatuses", ()))
        for pod in found
    }
    return {name: count for name, count in counts.items() if count}

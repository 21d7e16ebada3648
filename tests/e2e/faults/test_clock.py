"""Wall clocks set forward and back by an hour while programs run: leases and timeouts use monotonic time."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.e2e.support.faults import clock, workloads
from tests.e2e.support.faults.convergence import MonitoredPool, monitoring
from tests.e2e.support.faults.monitored_pool import operators
from tests.e2e.support.faults.operator_patch import patched_operator
from tests.e2e.support.namespaces import temporary_namespace
from tools.cluster import Cluster, deploy
from tools.cluster.kubectl import Kubectl
from tools.demo import pools

HOUR = 3600
SERVERS = 3

LEASE = 15.0
"""Duration of the Lease in seconds. With wall clocks, an hour more or less would end it at once, or never."""

LONGEST_AGE = 90.0
"""Maximum seconds between two events, including bookmarks, of a healthy watch."""

pytestmark = [pytest.mark.alone, pytest.mark.faults]


@pytest.fixture(scope="module")
def monitored(cluster: Cluster, kubectl_with_operator: Kubectl) -> Iterator[MonitoredPool]:
    """A pool under load, with settable clocks for operators, lookaside and gateway."""
    if cluster.engine is None:
        pytest.skip("needs a kind cluster: copies a library of this machine into pods")
    with temporary_namespace(kubectl_with_operator, "faults-clock") as namespace:
        kubectl_with_operator.apply(
            clock.config(namespace),
            pools.backends(namespace, SERVERS),
            pools.pool(namespace, lookaside={"replicas": 0}, readers=[{"serviceAccount": "greet-gateway"}]),
            *workloads.gateway(namespace, clock.settable("gateway")),
            *workloads.lookaside(namespace, clock.settable("lookaside")),
            *workloads.lookaside_gateway(namespace, "lookaside"),
        )
        with (
            patched_operator(
                kubectl_with_operator, clock.settable("operator"), clock.config(deploy.OPERATOR_NAMESPACE)
            ),
            monitoring(kubectl_with_operator, namespace, "app=lookaside") as monitored,
        ):
            for name in ("greet-gateway", "lookaside", "asking-gateway", "greetserver"):
                kubectl_with_operator.rollout(namespace, f"deployment/{name}")
            monitored.converges(within=60)
            yield monitored


def test_clock_of_the_leader_is_set(monitored: MonitoredPool) -> None:
    """With a wrong clock, the leader keeps leading and following pods; only written timestamps are wrong."""
    leader = _leader(monitored)
    for ahead in _set_forth_and_back(monitored, deploy.OPERATOR_NAMESPACE, leader):
        renewed = datetime.fromisoformat(_lease(monitored)["renewTime"]).timestamp()
        assert abs(renewed - time.time() - ahead) < LEASE
        assert _leader(monitored) == leader


def test_clock_of_the_standby_is_set(monitored: MonitoredPool) -> None:
    """The standby does not take the Lease, although by its clock the Lease expired long ago."""
    leader = _leader(monitored)
    (standby,) = {pod["metadata"]["name"] for pod in operators(monitored.kubectl)} - {leader}
    for _ in _set_forth_and_back(monitored, deploy.OPERATOR_NAMESPACE, standby):
        assert _leader(monitored) == leader


@pytest.mark.parametrize("app", ["lookaside", "greet-gateway"])
def test_clock_of_a_pools_client_is_set(monitored: MonitoredPool, app: str) -> None:
    """With a wrong clock, lookaside and gateway follow the pods, and no call fails."""
    selected = (f"--namespace={monitored.namespace}", f"--selector=app={app}")
    (pod,) = monitored.kubectl.json("get", "pods", *selected)["items"]
    for _ in _set_forth_and_back(monitored, monitored.namespace, pod["metadata"]["name"]):
        pass


def _set_forth_and_back(monitored: MonitoredPool, namespace: str, pod: str) -> Iterator[int]:
    """Set a pod's clock forward and back; each time, scale the pool, wait for convergence and yield the offset.

    Also check that neither leadership nor conditions change, and that no call fails.
    """
    mark, before = monitored.mark(), _unmoved(monitored)
    for ahead, servers in ((HOUR, SERVERS + 1), (0, SERVERS)):
        clock.put_ahead(monitored.kubectl, namespace, pod, ahead)
        time.sleep(LEASE + 3)
        pools.scale(monitored.kubectl, monitored.namespace, servers)
        monitored.converges(within=30)
        ages = _ages(monitored.kubectl, namespace, pod)
        assert ages
        assert all(0 <= age < LONGEST_AGE for age in ages), ages
        assert _unmoved(monitored) == before
        yield ahead
    monitored.recovers(mark, within=30)


def _unmoved(monitored: MonitoredPool) -> dict[str, Any]:
    """State that a wrong clock must not change: the Lease, the operators, and the times of the pool's conditions."""
    conditions = pools.read(monitored.kubectl, monitored.namespace)["status"]["conditions"]
    lease = _lease(monitored)
    return {
        "lease": [lease[field] for field in ("holderIdentity", "leaseTransitions", "acquireTime")],
        "operators": sorted(
            pod["status"]["containerStatuses"][0]["containerID"] for pod in operators(monitored.kubectl)
        ),
        "conditions": {condition["type"]: condition["lastTransitionTime"] for condition in conditions},
    }


def _ages(kubectl: Kubectl, namespace: str, pod: str) -> list[float]:
    """Return the ages of all views of a pod, from its metrics."""
    port = 9091 if "gateway" in pod else 9090
    text = kubectl("get", f"--raw=/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/metrics").stdout
    return [float(age) for age in re.findall(r"^backendpool_view_age_seconds\S* (\S+)$", text, re.MULTILINE)]


def _leader(monitored: MonitoredPool) -> str:
    return str(_lease(monitored)["holderIdentity"].partition("_")[0])


def _lease(monitored: MonitoredPool) -> dict[str, Any]:
    here = f"--namespace={deploy.OPERATOR_NAMESPACE}"
    spec: dict[str, Any] = monitored.kubectl.json("get", "lease", "backendpool-operator", here)["spec"]
    return spec

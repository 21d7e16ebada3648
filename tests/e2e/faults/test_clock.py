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
"""Seconds for which it holds: an hour more or less would have it end, or never end."""

LONGEST_AGE = 90.0
"""Seconds between two signs of life of a watch that is well."""

pytestmark = [pytest.mark.alone, pytest.mark.faults]


@pytest.fixture(scope="module")
def monitored(cluster: Cluster, kubectl_with_operator: Kubectl) -> Iterator[MonitoredPool]:
    """A pool under load; the clocks of operators, lookaside and gateway can be set."""
    if cluster.engine is None:
        pytest.skip("puts a library of this machine into pods, which is done on a cluster of our own only")
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
    """It leads on, and follows the pods; only what it writes for people to read has the time that it was told."""
    leader = _leader(monitored)
    for ahead in _set_forth_and_back(monitored, deploy.OPERATOR_NAMESPACE, leader):
        renewed = datetime.fromisoformat(_lease(monitored)["renewTime"]).timestamp()
        assert abs(renewed - time.time() - ahead) < LEASE
        assert _leader(monitored) == leader


def test_clock_of_the_standby_is_set(monitored: MonitoredPool) -> None:
    """It stands by, though by its clock the Lease ended long ago."""
    leader = _leader(monitored)
    (standby,) = {pod["metadata"]["name"] for pod in operators(monitored.kubectl)} - {leader}
    for _ in _set_forth_and_back(monitored, deploy.OPERATOR_NAMESPACE, standby):
        assert _leader(monitored) == leader


@pytest.mark.parametrize("app", ["lookaside", "greet-gateway"])
def test_clock_of_a_pools_client_is_set(monitored: MonitoredPool, app: str) -> None:
    """Lookaside and gateway follow the pods, and no call fails."""
    selected = (f"--namespace={monitored.namespace}", f"--selector=app={app}")
    (pod,) = monitored.kubectl.json("get", "pods", *selected)["items"]
    for _ in _set_forth_and_back(monitored, monitored.namespace, pod["metadata"]["name"]):
        pass


def _set_forth_and_back(monitored: MonitoredPool, namespace: str, pod: str) -> Iterator[int]:
    """Set a pod's clock; yields by how much, each time when pods have come and gone and all know of it.

    What may not change by it has not, and all has ended well.
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
    """Who leads, and since when; which operators run; when the pool's conditions came about."""
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
    """Of all that the pod watches, by its metrics."""
    port = 9091 if "gateway" in pod else 9090
    text = kubectl("get", f"--raw=/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/metrics").stdout
    return [float(age) for age in re.findall(r"^backendpool_view_age_seconds\S* (\S+)$", text, re.MULTILINE)]


def _leader(monitored: MonitoredPool) -> str:
    return str(_lease(monitored)["holderIdentity"].partition("_")[0])


def _lease(monitored: MonitoredPool) -> dict[str, Any]:
    here = f"--namespace={deploy.OPERATOR_NAMESPACE}"
    spec: dict[str, Any] = monitored.kubectl.json("get", "lease", "backendpool-operator", here)["spec"]
    return spec

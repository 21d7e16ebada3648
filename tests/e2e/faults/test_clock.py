"""Clocks set by an hour, forward and back, while programs run: nobody counts by a clock that somebody sets."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.e2e.support.faults import clock, workloads
from tests.e2e.support.faults.convergence import Watched, watching
from tests.e2e.support.faults.monitored_pool import operators
from tests.e2e.support.faults.operator_patch import patched_operator
from tests.e2e.support.namespaces import own_namespace
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
def watched(cluster: Cluster, operator: Kubectl) -> Iterator[Watched]:
    """A pool under load; the clocks of operators, lookaside and gateway can be set."""
    if cluster.engine is None:
        pytest.skip("puts a library of this machine into pods, which is done on a cluster of our own only")
    with own_namespace(operator, "faults-clock") as namespace:
        operator.apply(
            clock.config(namespace),
            pools.backends(namespace, SERVERS),
            pools.pool(namespace, lookaside={"replicas": 0}, readers=[{"serviceAccount": "greet-gateway"}]),
            *workloads.gateway(namespace, clock.settable("gateway")),
            *workloads.lookaside(namespace, clock.settable("lookaside")),
            *workloads.asking_gateway(namespace, "lookaside"),
        )
        with (
            patched_operator(operator, clock.settable("operator"), clock.config(deploy.OPERATOR_NAMESPACE)),
            watching(operator, namespace, "app=lookaside") as watched,
        ):
            for name in ("greet-gateway", "lookaside", "asking-gateway", "greetserver"):
                operator.rollout(namespace, f"deployment/{name}")
            watched.converges(within=60)
            yield watched


def test_clock_of_the_leader_is_set(watched: Watched) -> None:
    """It leads on, and follows the pods; only what it writes for people to read has the time that it was told."""
    leader = _leader(watched)
    for ahead in _set_forth_and_back(watched, deploy.OPERATOR_NAMESPACE, leader):
        renewed = datetime.fromisoformat(_lease(watched)["renewTime"]).timestamp()
        assert abs(renewed - time.time() - ahead) < LEASE
        assert _leader(watched) == leader


def test_clock_of_the_standby_is_set(watched: Watched) -> None:
    """It stands by, though by its clock the Lease ended long ago."""
    leader = _leader(watched)
    (standby,) = {pod["metadata"]["name"] for pod in operators(watched.kubectl)} - {leader}
    for _ in _set_forth_and_back(watched, deploy.OPERATOR_NAMESPACE, standby):
        assert _leader(watched) == leader


@pytest.mark.parametrize("app", ["lookaside", "greet-gateway"])
def test_clock_of_a_pools_client_is_set(watched: Watched, app: str) -> None:
    """Lookaside and gateway follow the pods, and no call fails."""
    selected = (f"--namespace={watched.namespace}", f"--selector=app={app}")
    (pod,) = watched.kubectl.json("get", "pods", *selected)["items"]
    for _ in _set_forth_and_back(watched, watched.namespace, pod["metadata"]["name"]):
        pass


def _set_forth_and_back(watched: Watched, namespace: str, pod: str) -> Iterator[int]:
    """Set a pod's clock; yields by how much, each time when pods have come and gone and all know of it.

    What may not change by it has not, and all has ended well.
    """
    mark, before = watched.mark(), _unmoved(watched)
    for ahead, servers in ((HOUR, SERVERS + 1), (0, SERVERS)):
        clock.put_ahead(watched.kubectl, namespace, pod, ahead)
        time.sleep(LEASE + 3)
        pools.scale(watched.kubectl, watched.namespace, servers)
        watched.converges(within=30)
        ages = _ages(watched.kubectl, namespace, pod)
        assert ages
        assert all(0 <= age < LONGEST_AGE for age in ages), ages
        assert _unmoved(watched) == before
        yield ahead
    watched.ends_well(mark, within=30)


def _unmoved(watched: Watched) -> dict[str, Any]:
    """Who leads, and since when; which operators run; when the pool's conditions came about."""
    conditions = pools.read(watched.kubectl, watched.namespace)["status"]["conditions"]
    lease = _lease(watched)
    return {
        "lease": [lease[field] for field in ("holderIdentity", "leaseTransitions", "acquireTime")],
        "operators": sorted(pod["status"]["containerStatuses"][0]["containerID"] for pod in operators(watched.kubectl)),
        "conditions": {condition["type"]: condition["lastTransitionTime"] for condition in conditions},
    }


def _ages(kubectl: Kubectl, namespace: str, pod: str) -> list[float]:
    """Of all that the pod watches, by its metrics."""
    port = 9091 if "gateway" in pod else 9090
    text = kubectl("get", f"--raw=/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/metrics").stdout
    return [float(age) for age in re.findall(r"^backendpool_view_age_seconds\S* (\S+)$", text, re.MULTILINE)]


def _leader(watched: Watched) -> str:
    return str(_lease(watched)["holderIdentity"].partition("_")[0])


def _lease(watched: Watched) -> dict[str, Any]:
    here = f"--namespace={deploy.OPERATOR_NAMESPACE}"
    spec: dict[str, Any] = watched.kubectl.json("get", "lease", "backendpool-operator", here)["spec"]
    return spec

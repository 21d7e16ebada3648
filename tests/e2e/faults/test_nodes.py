"""Loss of a worker node under load, with half of the servers, a lookaside and an operator on it.

Kubernetes takes 50 s to notice. Until then, half of the listed endpoints are dead, and clients must avoid them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from tests.e2e.support.faults import nodes
from tests.e2e.support.faults.convergence import MonitoredPool
from tests.e2e.support.faults.monitored_pool import operators, servers, spread_pool, victim
from tools.cluster import Cluster
from tools.cluster.kubectl import Kubectl, eventually
from tools.demo import pools

LOST = 70.0
"""Seconds until Kubernetes marks a node as lost (its grace period is 50 s) and the status has changed."""

ANOTHER = 20.0
"""Seconds until a client of the lost lookaside reconnects to another; the Service chooses a replica at random."""

pytestmark = [pytest.mark.alone, pytest.mark.faults]


@pytest.fixture
def monitored(cluster: Cluster, kubectl_with_operator: Kubectl) -> Iterator[MonitoredPool]:
    """A pool under load that has converged; after each test, the cluster is healthy again."""
    if not cluster.can_inject_faults:
        pytest.skip("needs a kind cluster: stops nodes")
    with spread_pool(cluster, kubectl_with_operator) as monitored:
        monitored.converges(within=60)
        _ask_on(monitored, victim(cluster))
        yield monitored
        nodes.wait_healthy(cluster, monitored.kubectl)


@pytest.mark.parametrize("lost", [nodes.cut_off, nodes.frozen])
def test_node_is_lost(
    cluster: Cluster, monitored: MonitoredPool, lost: Callable[[Cluster, str], AbstractContextManager[None]]
) -> None:
    """When a node is lost, no call in pool mode fails, and all views converge once Kubernetes has noticed."""
    node, mark = victim(cluster), monitored.mark()
    assert len({pod["spec"]["nodeName"] for pod in operators(monitored.kubectl)}) == 2
    assert sum(pod["spec"]["nodeName"] == node for pod in servers(monitored)) == 2
    with lost(cluster, node):
        eventually("no ready endpoint on the lost node", lambda: not _listed_on(monitored, node), timeout=LOST, every=1)
        monitored.converges(within=30, lost=node)
        assert not (errors := monitored.load.errors(mark.time)), errors
        monitored.lookasides_answered(mark, lost=node, after=ANOTHER)
    nodes.wait_healthy(cluster, monitored.kubectl)
    monitored.converges(within=60)
    assert not (errors := monitored.load.errors(mark.time)), errors
    monitored.lookasides_answered(mark, after=ANOTHER)


def _ask_on(monitored: MonitoredPool, node: str) -> None:
    """Restart the gateway in lookaside mode until the Service connects it to the lookaside on ``node``."""
    kubectl, gateway = monitored.kubectl, "deployment/asking-gateway"

    def asks() -> bool:
        before = monitored.lookasides.read()
        time.sleep(1)
        after = monitored.lookasides.read()
        if all((after[name].answered > was.answered) == (was.node == node) for name, was in before.items()):
            return True
        kubectl("rollout", "restart", gateway, f"--namespace={monitored.namespace}")
        kubectl.rollout(monitored.namespace, gateway)
        time.sleep(6)  # the previous gateway pod still sends calls during its drain
        return False

    with nodes.cordoned(kubectl, node):
        eventually("Resolves only at the lookaside on the node", asks, timeout=300)


def _listed_on(monitored: MonitoredPool, node: str) -> list[str]:
    listed = pools.read(monitored.kubectl, monitored.namespace)["status"]["endpoints"]
    return [e["podName"] for e in listed if e["nodeName"] == node and e["state"] == "Ready"]

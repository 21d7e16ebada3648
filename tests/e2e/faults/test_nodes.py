"""A worker lost under load, with half of the servers, a lookaside and an operator on it.

The cluster takes 50 s to notice: until then half of the list is dead, and it is for the clients to know.
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
"""Seconds until the cluster takes a node for lost (its controller's grace period is 50), and all have heard."""

ANOTHER = 20.0
"""Seconds until who asked the lookaside of the lost node asks another, which the Service chooses by chance."""

pytestmark = [pytest.mark.alone, pytest.mark.faults]


@pytest.fixture
def monitored(cluster: Cluster, kubectl_with_operator: Kubectl) -> Iterator[MonitoredPool]:
    """A pool under load, with all in place; the cluster is well again at the end."""
    if not cluster.can_inject_faults:
        pytest.skip("stops nodes, which is done on a cluster of our own only")
    with spread_pool(cluster, kubectl_with_operator) as monitored:
        monitored.converges(within=60)
        _ask_on(monitored, victim(cluster))
        yield monitored
        nodes.wait_healthy(cluster, monitored.kubectl)


@pytest.mark.parametrize("lost", [nodes.cut_off, nodes.frozen])
def test_node_is_lost(
    cluster: Cluster, monitored: MonitoredPool, lost: Callable[[Cluster, str], AbstractContextManager[None]]
) -> None:
    """No call by the pool fails; status, lookaside and gateways are right once the cluster has noticed."""
    node, mark = victim(cluster), monitored.mark()
    assert len({pod["spec"]["nodeName"] for pod in operators(monitored.kubectl)}) == 2
    assert sum(pod["spec"]["nodeName"] == node for pod in servers(monitored)) == 2
    with lost(cluster, node):
        eventually("nothing of it is listed", lambda: not _listed_on(monitored, node), timeout=LOST, every=1)
        monitored.converges(within=30, lost=node)
        assert not (errors := monitored.load.errors(mark.time)), errors
        monitored.lookasides_answered(mark, lost=node, after=ANOTHER)
    nodes.wait_healthy(cluster, monitored.kubectl)
    monitored.converges(within=60)
    assert not (errors := monitored.load.errors(mark.time)), errors
    monitored.lookasides_answered(mark, after=ANOTHER)


def _ask_on(monitored: MonitoredPool, node: str) -> None:
    """Have the gateway ask the lookaside of that node: which one it connects to is else for the Service to choose."""
    kubectl, gateway = monitored.kubectl, "deployment/asking-gateway"

    def asks() -> bool:
        before = monitored.lookasides.read()
        time.sleep(1)
        after = monitored.lookasides.read()
        if all((after[name].answered > was.answered) == (was.node == node) for name, was in before.items()):
            return True
        kubectl("rollout", "restart", gateway, f"--namespace={monitored.namespace}")
        kubectl.rollout(monitored.namespace, gateway)
        time.sleep(6)  # so long the one before goes on
        return False

    with nodes.cordoned(kubectl, node):
        eventually("the lookaside of the node is asked", asks, timeout=300)


def _listed_on(monitored: MonitoredPool, node: str) -> list[str]:
    listed = pools.read(monitored.kubectl, monitored.namespace)["status"]["endpoints"]
    return [e["podName"] for e in listed if e["nodeName"] == node and e["state"] == "Ready"]

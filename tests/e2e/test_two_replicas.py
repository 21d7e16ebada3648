"""Two operators, one writer: handed over in order, taken over from the dead, refused to the paused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from . import audit, deploy, pools
from .cluster import Cluster
from .kubectl import Kubectl, eventually

pytestmark = pytest.mark.alone

HERE = f"--namespace={deploy.OPERATOR_NAMESPACE}"
LEASE_SECONDS = 15


@pytest.fixture
def shop(operator: Kubectl, namespace: str) -> Iterator[str]:
    """Two backends and a pool over them, ready; both operators are up at the beginning and at the end."""
    operator.rollout(deploy.OPERATOR_NAMESPACE, "deployment/backendpool-operator")
    operator.apply(pools.backends(namespace, 2), pools.pool(namespace, lookaside={"replicas": 0}))
    pools.wait_ready(operator, namespace)
    pools.wait_for_count(operator, namespace, 2)
    yield namespace
    operator.rollout(deploy.OPERATOR_NAMESPACE, "deployment/backendpool-operator")


def leader(kubectl: Kubectl) -> str:
    """The pod that holds the Lease, empty where it was given back."""
    spec = kubectl.json("get", "lease", "backendpool-operator", HERE)["spec"]
    return str(spec.get("holderIdentity") or "").partition("_")[0]


def successor(kubectl: Kubectl, old: str, timeout: float) -> str:
    def another() -> str:
        found = leader(kubectl)
        return found if found != old else ""

    return eventually(f"another leader than {old}", another, timeout, 0.1)


def test_leader_asked_to_stop_hands_over(cluster: Cluster, operator: Kubectl, shop: str) -> None:
    """SIGTERM gives the Lease back, and the standby leads within a moment of that, long before the Lease would end."""
    node, process = _process(cluster, operator)
    old = leader(operator)
    signalled = time.time()
    cluster.docker("exec", node, "kill", "-TERM", process)
    new = successor(operator, old, timeout=10)
    by_new = [w for w in audit.lease_writes(cluster) if w.instance.startswith(f"{new}_") and w.code == 200]
    took = min(at for w in by_new if (at := w.answered.timestamp()) > signalled) - signalled
    print(f"{took:.2f} s from SIGTERM to the next leader")
    assert took < LEASE_SECONDS / 5
    pools.scale(operator, shop, 3)
    pools.wait_for_count(operator, shop, 3)


def test_dead_leader_is_succeeded_within_the_lease(cluster: Cluster, operator: Kubectl, shop: str) -> None:
    """kill -9: the standby takes over when the Lease ends, from a warm cache, and nothing is lost."""
    node, process = _process(cluster, operator)
    old, before = leader(operator), pools.read(operator, shop)["status"]
    begun = time.monotonic()
    cluster.docker("exec", node, "kill", "-KILL", process)
    eventually("another process leads", lambda: _holder(operator) != "" and leader(operator) != old, LEASE_SECONDS + 15)
    assert time.monotonic() - begun < LEASE_SECONDS + 15
    assert pools.read(operator, shop)["status"] == before
    pools.scale(operator, shop, 3)
    pools.wait_for_count(operator, shop, 3)


def test_paused_leader_never_writes_again(cluster: Cluster, operator: Kubectl, shop: str) -> None:
    """SIGSTOP past the Lease, then SIGCONT: it ends without a write, and the other has written meanwhile."""
    node, process = _process(cluster, operator)
    old = leader(operator)
    cluster.docker("exec", node, "kill", "-STOP", process)
    try:
        new = successor(operator, old, timeout=LEASE_SECONDS + 15)
        pools.scale(operator, shop, 3)
        pools.wait_for_count(operator, shop, 3)
    finally:
        cluster.docker("exec", node, "kill", "-CONT", process)
    resumed = time.time()
    pools.scale(operator, shop, 4)
    pools.wait_for_count(operator, shop, 4)
    writes = audit.operator_writes(cluster)
    assert not [w for w in writes if w.instance.startswith(f"{old}_") and w.received.timestamp() > resumed]
    assert leader(operator) == new


def test_there_were_never_two_writers(cluster: Cluster, operator: Kubectl, shop: str) -> None:
    """In all that the audit log holds of these tests, a writer is done before another begins."""
    writes = [w for w in audit.operator_writes(cluster) if w.resource == "grpcbackendpools"]
    assert writes, "the audit log holds no write of an operator: is the cluster of this version?"
    for before, after in pairwise(writes):
        if before.instance != after.instance:
            assert before.answered <= after.received, f"{before} and {after} overlap"
    turns = [w.instance for b, w in pairwise(writes) if b.instance != w.instance]
    assert len(turns) == len(set(turns)), f"a former leader wrote again: {turns}"


def _holder(kubectl: Kubectl) -> str:
    return str(kubectl.json("get", "lease", "backendpool-operator", HERE)["spec"].get("holderIdentity") or "")


def _process(cluster: Cluster, kubectl: Kubectl) -> tuple[str, str]:
    """The node of the leader, and its process there."""
    if not cluster.can_inject_faults:
        pytest.skip("signals a process on a node, which is done on a cluster of our own only")
    pod = kubectl.json("get", "pod", leader(kubectl), HERE)
    node, uid = pod["spec"]["nodeName"], pod["metadata"]["uid"]
    for process in cluster.docker("exec", node, "pgrep", "--full", "backendpool operator").split():
        cgroup = cluster.docker("exec", node, "cat", f"/proc/{process}/cgroup")
        if uid in cgroup or uid.replace("-", "_") in cgroup:
            return node, process
    raise AssertionError(f"no operator process of pod {uid} on {node}")

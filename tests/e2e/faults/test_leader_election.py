"""Leader election of two operator replicas: handover, failover, and no write by a former leader."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from itertools import pairwise

import pytest

from tests.e2e.support import audit_log
from tests.e2e.support.namespaces import temporary_namespace
from tools.cluster import Cluster, deploy
from tools.cluster.kubectl import Kubectl, eventually
from tools.demo import pools

pytestmark = pytest.mark.alone

HERE = f"--namespace={deploy.OPERATOR_NAMESPACE}"
LEASE_SECONDS = 15
SLACK = 2.0
"""Seconds that are allowed for an immediate reaction, since the test cluster has only two cores."""


@pytest.fixture(scope="module")
def begun() -> float:
    """The Unix time before the first test of this module."""
    return time.time()


@pytest.fixture(scope="module")
def shared_namespace(kubectl_with_operator: Kubectl, begun: float) -> Iterator[str]:
    """A namespace with two backends and a pool over them, ready."""
    with temporary_namespace(kubectl_with_operator, "two-replicas") as namespace:
        kubectl_with_operator.apply(pools.backends(namespace, 2), pools.pool(namespace, lookaside={"replicas": 0}))
        pools.wait_ready(kubectl_with_operator, namespace)
        pools.wait_for_count(kubectl_with_operator, namespace, 2)
        yield namespace


@pytest.fixture
def pool_with_backends(kubectl_with_operator: Kubectl, shared_namespace: str) -> Iterator[str]:
    """The shared namespace; both operators are available before and after each test."""
    kubectl_with_operator.rollout(deploy.OPERATOR_NAMESPACE, "deployment/backendpool-operator")
    yield shared_namespace
    kubectl_with_operator.rollout(deploy.OPERATOR_NAMESPACE, "deployment/backendpool-operator")


def one_more(kubectl: Kubectl, namespace: str) -> None:
    """Add a backend and wait until the status lists it, which shows that a leader works."""
    count = len(pools.ready_pods(kubectl, namespace)) + 1
    pools.scale(kubectl, namespace, count)
    pools.wait_for_count(kubectl, namespace, count)


def leader(kubectl: Kubectl) -> str:
    """Return the pod that holds the Lease; empty if it was released."""
    spec = kubectl.json("get", "lease", "backendpool-operator", HERE)["spec"]
    return str(spec.get("holderIdentity") or "").partition("_")[0]


def standby(kubectl: Kubectl) -> str:
    """Return the operator pod that does not hold the Lease."""
    selector = "--selector=app.kubernetes.io/component=operator"
    items = kubectl.json("get", "pods", HERE, selector)["items"]
    (other,) = {item["metadata"]["name"] for item in items} - {leader(kubectl)}
    return str(other)


def successor(kubectl: Kubectl, old: str, timeout: float) -> str:
    def another() -> str:
        found = leader(kubectl)
        return found if found != old else ""

    return eventually(f"a leader other than {old}", another, timeout, 0.1)


def test_leader_asked_to_stop_hands_over(
    cluster: Cluster, kubectl_with_operator: Kubectl, pool_with_backends: str
) -> None:
    """On SIGTERM, the leader releases the Lease, and the standby leads within one second."""
    old, other = leader(kubectl_with_operator), standby(kubectl_with_operator)
    signalled = signal(cluster, kubectl_with_operator, "TERM")
    assert successor(kubectl_with_operator, old, timeout=60) == other
    took = _first_by(cluster, other, signalled).answered - signalled
    print(f"{took:.2f} s from SIGTERM to the next leader")
    assert took < 1
    one_more(kubectl_with_operator, pool_with_backends)


def test_dead_leader_is_succeeded_within_the_lease(
    cluster: Cluster, kubectl_with_operator: Kubectl, pool_with_backends: str
) -> None:
    """After kill -9, the standby leads when the Lease expires; it needs no new list, and the status is unchanged."""
    old, other, before = (
        leader(kubectl_with_operator),
        standby(kubectl_with_operator),
        pools.read(kubectl_with_operator, pool_with_backends)["status"],
    )
    listed, renewing = lists(kubectl_with_operator, other), time.time() - LEASE_SECONDS
    killed = signal(cluster, kubectl_with_operator, "KILL")
    assert successor(kubectl_with_operator, old, timeout=LEASE_SECONDS + 60) == other
    renewed = max(w.received for w in audit_log.lease_writes(cluster, renewing) if w.instance.startswith(f"{old}_"))
    took = _first_by(cluster, other, killed).answered - renewed
    print(f"{took:.2f} s from the last renewal to the next leader")
    assert LEASE_SECONDS <= took < LEASE_SECONDS + SLACK
    assert pools.read(kubectl_with_operator, pool_with_backends)["status"] == before
    one_more(kubectl_with_operator, pool_with_backends)
    assert lists(kubectl_with_operator, other) == listed


def test_paused_leader_never_writes_again(
    cluster: Cluster, kubectl_with_operator: Kubectl, pool_with_backends: str
) -> None:
    """A leader paused until its Lease expires exits after SIGCONT without a write; meanwhile, the standby has led."""
    old, other = leader(kubectl_with_operator), standby(kubectl_with_operator)
    node, process = _process(cluster, kubectl_with_operator)
    _signal(cluster, node, process, "STOP")
    try:
        assert successor(kubectl_with_operator, old, timeout=LEASE_SECONDS + 60) == other
        one_more(kubectl_with_operator, pool_with_backends)
    finally:
        resumed = _signal(cluster, node, process, "CONT")
    one_more(kubectl_with_operator, pool_with_backends)
    written = audit_log.operator_writes(cluster, resumed)
    assert {write.instance.partition("_")[0] for write in written} == {other}
    assert leader(kubectl_with_operator) == other


@pytest.mark.usefixtures("pool_with_backends")
def test_there_were_never_two_writers(cluster: Cluster, begun: float) -> None:
    """During these tests, each leader finished its writes before the next one wrote, and never wrote again."""
    writes = audit_log.operator_writes(cluster, begun)
    assert {"grpcbackendpools", "services", "events"} <= {write.resource for write in writes}
    done: dict[str, float] = {}
    for write in writes:
        unfinished = [who for who, at in done.items() if who != write.instance and at > write.received]
        assert not unfinished, f"{write} overlaps writes of {unfinished}"
        done[write.instance] = max(write.answered, done.get(write.instance, 0.0))
    turns = [after.instance for before, after in pairwise(writes) if before.instance != after.instance]
    assert len(turns) == len(set(turns)), f"a former leader wrote again: {turns}"


@pytest.mark.usefixtures("pool_with_backends")
def test_drains_take_one_operator_at_a_time(kubectl_with_operator: Kubectl) -> None:
    """The PodDisruptionBudget covers both operators and allows the eviction of one."""

    def allowed() -> tuple[int, int]:
        status = kubectl_with_operator.json("get", "poddisruptionbudget", "backendpool-operator", HERE)["status"]
        return status["expectedPods"], status["disruptionsAllowed"]

    eventually("one allowed disruption of two pods", lambda: allowed() == (2, 1))


def lists(kubectl: Kubectl, pod: str) -> Mapping[str, str]:
    """Return the number of complete lists that an operator has read, by resource."""
    url = f"/api/v1/namespaces/{deploy.OPERATOR_NAMESPACE}/pods/{pod}:9090/proxy/metrics"
    found = dict(re.findall(r"^backendpool_lists_total(\S+) (\S+)$", kubectl("get", f"--raw={url}").stdout, re.M))
    assert found
    return found


def signal(cluster: Cluster, kubectl: Kubectl, name: str) -> float:
    """Send a signal to the leader; return the Unix time."""
    return _signal(cluster, *_process(cluster, kubectl), name)


def _signal(cluster: Cluster, node: str, process: str, name: str) -> float:
    """Send a signal; return the node's time just before it, which excludes the delay of docker."""
    return float(cluster.docker("exec", node, "sh", "-c", f"date +%s.%N && kill -{name} {process}"))


def _first_by(cluster: Cluster, pod: str, since: float) -> audit_log.Write:
    """Return the first write to the Lease by a pod since a Unix time."""
    return next(write for write in audit_log.lease_writes(cluster, since) if write.instance.startswith(f"{pod}_"))


def _process(cluster: Cluster, kubectl: Kubectl) -> tuple[str, str]:
    """Return the node of the leader and its process ID there."""
    if not cluster.can_inject_faults:
        pytest.skip("needs a kind cluster: signals a process on a node")
    pod = kubectl.json("get", "pod", leader(kubectl), HERE)
    node, uid = pod["spec"]["nodeName"], pod["metadata"]["uid"]
    for process in cluster.docker("exec", node, "pgrep", "--full", "backendpool operator").split():
        cgroup = cluster.docker("exec", node, "cat", f"/proc/{process}/cgroup")
        if uid in cgroup or uid.replace("-", "_") in cgroup:
            return node, process
    raise AssertionError(f"no operator process of pod {uid} on {node}")

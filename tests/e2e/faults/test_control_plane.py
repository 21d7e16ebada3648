"""Faults of the control plane under load: components are stopped and killed, and objects are deleted.

Each test ends with the check in support/faults/convergence.py: status, lookasides and gateways agree with the pods. No
call in pool mode may fail, unless the test's docstring says otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.support.faults import nodes, processes
from tests.e2e.support.faults.convergence import MonitoredPool
from tests.e2e.support.faults.monitored_pool import SERVERS, operators, servers, spread_pool
from tools.cluster import Cluster, deploy
from tools.cluster.kubectl import Kubectl, eventually
from tools.demo import pools
from tools.demo.traffic import Load

pytestmark = pytest.mark.alone

OPERATOR = "deployment/backendpool-operator"


@pytest.fixture(scope="module")
def shared_pool(cluster: Cluster, kubectl_with_operator: Kubectl) -> Iterator[MonitoredPool]:
    """A pool under load."""
    if not cluster.can_inject_faults:
        pytest.skip("needs a kind cluster: stops processes on nodes")
    with spread_pool(cluster, kubectl_with_operator) as monitored:
        yield monitored


@pytest.fixture
def monitored(cluster: Cluster, shared_pool: MonitoredPool) -> Iterator[MonitoredPool]:
    """The shared pool, reset before each test; after each test, the cluster is healthy again."""
    pools.scale(shared_pool.kubectl, shared_pool.namespace, SERVERS)
    shared_pool.converges(within=60)
    yield shared_pool
    nodes.wait_healthy(cluster, shared_pool.kubectl)


@pytest.mark.parametrize("seconds", [8, pytest.param(30, marks=pytest.mark.faults)])
def test_api_server_hangs_while_pods_die(cluster: Cluster, monitored: MonitoredPool, seconds: float) -> None:
    """Half of the servers die and restart with new addresses while the API server accepts requests without answering.

    Within 8 s, no watch notices. After 30 s, requests have timed out, and the operator has lost its Lease.
    """
    mark, dying = monitored.mark(), servers(monitored)[:2]
    with processes.hung(cluster, "kube-apiserver"):
        _kill_slowly(cluster, dying, seconds)
    monitored.recovers(mark, within=60)
    _have_moved(monitored, dying)


@pytest.mark.faults
def test_api_server_stopped_while_pods_die(cluster: Cluster, monitored: MonitoredPool) -> None:
    """Half of the servers die and restart while the API server is stopped for two minutes."""
    mark, dying = monitored.mark(), servers(monitored)[:2]
    with processes.stopped(cluster, "kube-apiserver"):
        _kill_slowly(cluster, dying, 120)
    eventually("a healthy cluster", lambda: not cluster.problems(), timeout=300)
    monitored.recovers(mark, within=90)
    _have_moved(monitored, dying)


def _kill_slowly(cluster: Cluster, pods: list[dict[str, Any]], seconds: float) -> None:
    for pod in pods:
        time.sleep(seconds / 4)
        processes.kill_pod(cluster, pod)
    time.sleep(seconds / 2)


def _have_moved(monitored: MonitoredPool, pods: list[dict[str, Any]]) -> None:
    """Check that the pods have new addresses, so the addresses listed during the fault were dead."""
    now = pools.ready_pods_by_name(monitored.kubectl, monitored.namespace)
    for pod in pods:
        assert now[pod["metadata"]["name"]] != pod["status"]["podIP"]


def test_etcd_restarts(cluster: Cluster, monitored: MonitoredPool) -> None:
    """etcd is killed while the pool is scaled up. (Scaling down could fail calls in lookaside mode.)"""
    mark = monitored.mark()
    pools.scale(monitored.kubectl, monitored.namespace, SERVERS + 1)
    processes.kill(cluster, "etcd")
    eventually("a healthy cluster", lambda: not cluster.problems())
    pools.scale(monitored.kubectl, monitored.namespace, SERVERS + 2)
    monitored.kubectl.rollout(monitored.namespace, "deployment/greetserver")
    monitored.recovers(mark, within=60)


@pytest.mark.faults
def test_operators_out_of_memory_in_a_burst(cluster: Cluster, monitored: MonitoredPool) -> None:
    """The kernel kills both operators while the pool is scaled; after they restart, all views converge."""
    mark, killed = monitored.mark(), operators(monitored.kubectl)
    pools.scale(monitored.kubectl, monitored.namespace, 7)
    for pod in killed:
        processes.exhaust_memory(cluster, pod, megabytes=512)
        pools.scale(monitored.kubectl, monitored.namespace, 2)
    pools.scale(monitored.kubectl, monitored.namespace, 4)
    monitored.kubectl.rollout(monitored.namespace, "deployment/greetserver")
    monitored.recovers(mark, within=60)
    assert [processes.was_out_of_memory(cluster, pod) for pod in killed] == [True, True]
    assert not set(_containers(killed)) & set(_containers(operators(monitored.kubectl)))


def test_no_operator(cluster: Cluster, monitored: MonitoredPool) -> None:
    """Without an operator, calls continue with the last status; a new operator follows the pods again."""
    kubectl, mark = monitored.kubectl, monitored.mark()
    here = f"--namespace={deploy.OPERATOR_NAMESPACE}"
    kubectl("scale", OPERATOR, "--replicas=0", here)
    try:
        kubectl("wait", "--for=delete", "pod", "--selector=app.kubernetes.io/component=operator", here)
        pools.scale(kubectl, monitored.namespace, SERVERS + 1)
        kubectl.rollout(monitored.namespace, "deployment/greetserver")
        assert len(pools.ready_addresses(pools.read(kubectl, monitored.namespace))) == SERVERS
    finally:
        deploy.operator(cluster)
    monitored.recovers(mark, within=60)


def _containers(pods: list[dict[str, Any]]) -> list[str]:
    return [pod["status"]["containerStatuses"][0]["containerID"] for pod in pods]


@pytest.mark.faults
def test_controller_manager_away(cluster: Cluster, monitored: MonitoredPool) -> None:
    """One pod is deleted and another dies while stale EndpointSlices still list both as ready."""
    mark = monitored.mark()
    dying, deleted, *_ = servers(monitored)
    with processes.stopped(cluster, "kube-controller-manager"):
        processes.kill_pod(cluster, dying)
        monitored.kubectl("delete", "pod", deleted["metadata"]["name"], f"--namespace={monitored.namespace}")
        time.sleep(60)
        listed = pools.ready_addresses(pools.read(monitored.kubectl, monitored.namespace))
        assert {dying["status"]["podIP"], deleted["status"]["podIP"]} <= listed
    monitored.recovers(mark, within=90)
    _have_moved(monitored, [dying])


@pytest.mark.faults
def test_all_servers_go_and_come(monitored: MonitoredPool) -> None:
    """When the pool is scaled from 5 to 0 and back, calls fail only while there is no server."""
    kubectl, namespace, mark = monitored.kubectl, monitored.namespace, monitored.mark()
    pools.scale(kubectl, namespace, 5)
    pools.wait_for_count(kubectl, namespace, 5)
    going = time.time()
    pools.scale(kubectl, namespace, 0)
    pools.wait_for_count(kubectl, namespace, 0)
    gone = time.time()
    time.sleep(3)
    coming = time.time()
    pools.scale(kubectl, namespace, 5)
    eventually("a ready endpoint", lambda: pools.ready_addresses(pools.read(kubectl, namespace)), every=0.1)
    there = time.time()
    pools.wait_for_count(kubectl, namespace, 5)
    monitored.converges(within=30)
    for load in (monitored.load, monitored.asking):
        assert not (errors := load.errors(mark.time, until=going)), errors
        assert not (errors := load.errors(there + 1)), errors
        _refuses_all(load, gone, coming)


def _refuses_all(load: Load, since: float, until: float) -> None:
    """Check that each call between two Unix times failed at once with 503."""
    intervals = [i for i in load.intervals(since + 0.5) if i.time <= until]
    assert intervals
    for interval in intervals:
        assert not interval.pods
        assert interval.errors
        assert all(error.startswith("503 ") for error in interval.errors), interval.errors


def test_crd_is_deleted_and_applied_again(cluster: Cluster, monitored: MonitoredPool) -> None:
    """Deleting the CRD deletes all pools: calls fail until the CRD and the pool are applied again.

    The operators recover without a restart.
    """
    kubectl, namespace, mark = monitored.kubectl, monitored.namespace, monitored.mark()
    running = _containers(operators(kubectl))
    deleting = time.time()
    try:
        kubectl("delete", "crd", "grpcbackendpools.backendpool.io", "--wait=true")
        gone = time.time()
        time.sleep(2)
    finally:
        deploy.operator(cluster)
    begun = time.time()
    kubectl.apply(pools.pool(namespace, readers=[{"serviceAccount": "greet-gateway"}]))
    pools.wait_ready(kubectl, namespace)
    print(f"{time.time() - begun:.1f} s until the new pool is ready")
    there = time.time()
    monitored.converges(within=60)
    for load in (monitored.load, monitored.asking):
        assert not (errors := load.errors(mark.time, until=deleting)), errors
    assert not (errors := monitored.load.errors(there + 1)), errors
    _refuses_all(monitored.load, gone, begun)
    assert running == _containers(operators(kubectl))

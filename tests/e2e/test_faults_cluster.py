"""The cluster itself broken, under load: its servers stopped, its nodes lost, its objects deleted.

Each test ends with the check of all faults: status, lookaside and gateway are what the pods are (faults/converged.py),
and, unless its first sentence says otherwise, no call failed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from . import deploy, pools, traffic
from .cluster import Cluster
from .faults import nodes
from .faults.between import own_namespace
from .faults.converged import Watched
from .faults.programs import gateway
from .kubectl import Kubectl, eventually

LOST = 70.0
"""Seconds until the cluster takes a node for lost (its controller's grace period is 50), and all have heard."""

pytestmark = pytest.mark.alone

OPERATOR = (f"--namespace={deploy.OPERATOR_NAMESPACE}", "--selector=app.kubernetes.io/component=operator")


@pytest.fixture(scope="module")
def stage(cluster: Cluster, operator: Kubectl) -> Iterator[Watched]:
    """A pool of four servers, half of them on the node that is lost; gateway and load are on the other worker."""
    if not cluster.can_inject_faults:
        pytest.skip("stops processes and nodes, which is done on a cluster of our own only")
    with ExitStack() as stack:
        namespace = stack.enter_context(own_namespace(operator, "faults-cluster"))
        operator.apply(pools.pool(namespace, readers=[{"serviceAccount": "greet-gateway"}]), _metrics(namespace))
        with nodes.cordoned(operator, victim(cluster)):
            operator.apply(*gateway(namespace))
            operator.rollout(namespace, "deployment/greet-gateway")
            load = stack.enter_context(traffic.load(operator, namespace, rate=40, seconds=1500, interval=0.5))
        operator.apply(_spread_backends(namespace))
        operator.rollout(namespace, "deployment/greetserver")
        pools.wait_ready(operator, namespace)
        watched = Watched(operator, namespace, load)
        watched.converges(within=60)
        yield watched


@pytest.fixture
def watched(cluster: Cluster, stage: Watched) -> Iterator[Watched]:
    """The same, as it was for each test; the cluster is well again at the end of each."""
    pools.scale(stage.kubectl, stage.namespace, 4)
    stage.converges(within=60)
    yield stage
    nodes.wait_well(cluster, stage.kubectl)


def victim(cluster: Cluster) -> str:
    """The node that is lost."""
    return nodes.workers(cluster)[-1]


def _metrics(namespace: str) -> dict[str, Any]:
    """The metrics of the pool's lookaside, as a Service: its own has none."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "lookaside", "namespace": namespace},
        "spec": {"selector": {"app.kubernetes.io/name": "backendpool-lookaside"}, "ports": [{"port": 9090}]},
    }


def _spread_backends(namespace: str) -> dict[str, Any]:
    """Four servers, as many on one worker as on the other."""
    backends = pools.backends(namespace, 4)
    backends["spec"]["template"]["spec"]["topologySpreadConstraints"] = [
        {
            "topologyKey": "kubernetes.io/hostname",
            "maxSkew": 1,
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": pools.LABELS},
            # A tainted node is one less to spread over: else nothing could be put right while it is lost.
            "nodeTaintsPolicy": "Honor",
        }
    ]
    return backends


def servers(watched: Watched) -> list[dict[str, Any]]:
    """The pods that are there for good."""
    selector = ",".join(f"{key}={value}" for key, value in pools.LABELS.items())
    here = (f"--namespace={watched.namespace}", f"--selector={selector}")
    return [pod for pod in watched.kubectl.json("get", "pods", *here)["items"] if not _is_leaving(pod)]


def _is_leaving(pod: dict[str, Any]) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def operators(kubectl: Kubectl) -> list[dict[str, Any]]:
    return [pod for pod in kubectl.json("get", "pods", *OPERATOR)["items"] if not _is_leaving(pod)]


@pytest.mark.parametrize("seconds", [8, pytest.param(30, marks=pytest.mark.faults)])
def test_api_server_hangs_while_pods_die(cluster: Cluster, watched: Watched, seconds: float) -> None:
    """Half of the servers are killed while the API server takes requests and answers none.

    In 8 s no watch notices; in 30 s requests have timed out, and the operator has lost its Lease.
    """
    begun, there = time.time(), servers(watched)
    with nodes.hung(cluster, "kube-apiserver"):
        _kill_slowly(cluster, there[:2], seconds)
    watched.ends_well(begun, within=60)


@pytest.mark.faults
def test_api_server_stopped_while_pods_die(cluster: Cluster, watched: Watched) -> None:
    """The same for two minutes in which there is no API server at all."""
    begun, there = time.time(), servers(watched)
    with nodes.away(cluster, "kube-apiserver"):
        _kill_slowly(cluster, there[:2], 120)
    eventually("the API server answers", lambda: not cluster.problems(), timeout=120)
    watched.ends_well(begun, within=90)


def _kill_slowly(cluster: Cluster, pods: list[dict[str, Any]], seconds: float) -> None:
    for pod in pods:
        time.sleep(seconds / 4)
        nodes.kill_container(cluster, pod)
    time.sleep(seconds / 2)


def test_etcd_restarts(cluster: Cluster, watched: Watched) -> None:
    """etcd is killed while the pool is scaled."""
    begun = time.time()
    pools.scale(watched.kubectl, watched.namespace, 5)
    nodes.kill(cluster, "etcd")
    eventually("the API server answers", lambda: not cluster.problems(), timeout=60)
    pools.scale(watched.kubectl, watched.namespace, 4)
    watched.kubectl.rollout(watched.namespace, "deployment/greetserver")
    watched.ends_well(begun, within=60)


def test_operators_out_of_memory_in_a_burst(cluster: Cluster, watched: Watched) -> None:
    """The kernel kills both operators while pods come and go: the first to be back puts all right."""
    begun = time.time()
    pools.scale(watched.kubectl, watched.namespace, 7)
    for pod in operators(watched.kubectl):
        nodes.exhaust_memory(cluster, pod, megabytes=512)
        pools.scale(watched.kubectl, watched.namespace, 2)
    pools.scale(watched.kubectl, watched.namespace, 4)
    watched.kubectl.rollout(watched.namespace, "deployment/greetserver")
    watched.ends_well(begun, within=60)
    ends = [pod["status"]["containerStatuses"][0]["lastState"]["terminated"] for pod in operators(watched.kubectl)]
    # By the signal: containerd may hear of the end before it hears of its reason, and calls it Error then.
    assert [end["exitCode"] for end in ends] == [137, 137], ends


def test_controller_manager_away(cluster: Cluster, watched: Watched) -> None:
    """A pod is deleted and another dies while nobody keeps the EndpointSlices, which list both as ready."""
    begun = time.time()
    dead, deleted, *_ = servers(watched)
    with nodes.hung(cluster, "kube-controller-manager"):
        nodes.kill_container(cluster, dead)
        watched.kubectl("delete", "pod", deleted["metadata"]["name"], f"--namespace={watched.namespace}")
        time.sleep(3)
        assert deleted["status"]["podIP"] in pools.ready_addresses(pools.read(watched.kubectl, watched.namespace))
    watched.ends_well(begun, within=60)


@pytest.mark.faults
def test_all_servers_go_and_come(watched: Watched) -> None:
    """5-0-5: with no server calls are refused; all is right again with the first that is ready."""
    for count in (5, 0, 5):
        pools.scale(watched.kubectl, watched.namespace, count)
        pools.wait_for_count(watched.kubectl, watched.namespace, count)
    begun = time.time() + 1
    watched.ends_well(begun, within=30)


def test_crd_is_deleted_and_applied_again(cluster: Cluster, watched: Watched) -> None:
    """All pools go with the CRD, and calls are refused; with both applied again all is as before, unrestarted."""
    kubectl, namespace = watched.kubectl, watched.namespace
    running = [pod["status"]["containerStatuses"][0]["containerID"] for pod in operators(kubectl)]
    try:
        kubectl("delete", "crd", "grpcbackendpools.backendpool.io", "--wait=true")
        time.sleep(2)
    finally:
        deploy.operator(cluster)
    begun = time.time()
    kubectl.apply(pools.pool(namespace, readers=[{"serviceAccount": "greet-gateway"}]))
    pools.wait_ready(kubectl, namespace)
    print(f"the pool is ready after {time.time() - begun:.1f} s")
    watched.converges(within=60)
    assert running == [pod["status"]["containerStatuses"][0]["containerID"] for pod in operators(kubectl)]


@pytest.mark.faults
def test_node_cut_off(cluster: Cluster, watched: Watched) -> None:
    """Half of the servers behind a cable that was pulled, and not told of for 50 s."""
    begun = time.time()
    with nodes.cut_off(cluster, victim(cluster)):
        _wait_until_lost(cluster, watched)
        watched.shows_no_error(begun)
    nodes.wait_well(cluster, watched.kubectl)
    watched.ends_well(begun, within=60)


@pytest.mark.faults
def test_node_frozen(cluster: Cluster, watched: Watched) -> None:
    """Half of the servers take calls and never answer."""
    begun = time.time()
    with nodes.frozen(cluster, victim(cluster)):
        _wait_until_lost(cluster, watched)
        watched.shows_no_error(begun)
    nodes.wait_well(cluster, watched.kubectl)
    watched.ends_well(begun, within=60)


def _wait_until_lost(cluster: Cluster, watched: Watched) -> None:
    """Half of the list is dead; until the cluster has noticed, it is for the client to know."""
    node = victim(cluster)
    assert len({pod["spec"]["nodeName"] for pod in operators(watched.kubectl)}) == 2
    assert sum(pod["spec"]["nodeName"] == node for pod in servers(watched)) == 2

    def unlisted() -> bool:
        listed = pools.read(watched.kubectl, watched.namespace)["status"]["endpoints"]
        return not [e for e in listed if e["nodeName"] == node and e["state"] == "Ready"]

    eventually("servers of the lost node are listed no more", unlisted, timeout=LOST, every=1)

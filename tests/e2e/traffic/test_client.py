"""Calls by the client library while backends start, stop, die, become unreachable, fail and respond slowly.

Half of the clients follow the pool's status, half the lookaside. All calls are idempotent, so none may fail while a
backend is alive.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.support.faults import nodes, processes
from tests.e2e.support.namespaces import temporary_namespace
from tools.cluster import Cluster
from tools.cluster import image as image_of
from tools.cluster.kubectl import Kubectl, eventually
from tools.demo import pools, traffic
from tools.demo.traffic import Load, Summary

pytestmark = pytest.mark.alone

RATE = 250
"""Calls per second of each client."""

READERS = [{"serviceAccount": "default"}]

VOLUME = 10
"""Minimum calls per interval to a backend before it can be ejected (``requestVolume``)."""

FAILING = """
import asyncio, grpc.aio
from grpc import StatusCode
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from greet.greet_pb2_grpc import GreetServiceServicer, add_GreetServiceServicer_to_server
class Failing(GreetServiceServicer):
    calls = 0
    async def Greet(self, request, context):
        Failing.calls += 1
        print(Failing.calls, flush=True)
        await context.abort(StatusCode.UNAVAILABLE, "out of order")
async def main():
    server = grpc.aio.server()
    add_GreetServiceServicer_to_server(Failing(), server)
    servicer = health.aio.HealthServicer()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server.add_insecure_port("[::]:50051")
    await server.start()
    await server.wait_for_termination()
asyncio.run(main())
"""
"""A server that is ready, but fails each call at once."""


@pytest.fixture(scope="module")
def shared_namespace(kubectl_with_operator: Kubectl) -> Iterator[str]:
    with temporary_namespace(kubectl_with_operator, "client") as namespace:
        kubectl_with_operator.apply(pools.backends(namespace), pools.pool(namespace, readers=READERS))
        pools.wait_ready(kubectl_with_operator, namespace)
        pools.wait_for_count(kubectl_with_operator, namespace, 3)
        yield namespace


@pytest.fixture
def pool(kubectl_with_operator: Kubectl, shared_namespace: str) -> Iterator[str]:
    """The namespace of a pool with three servers, reset before and after each test."""
    pools.scale(kubectl_with_operator, shared_namespace, 3)
    pools.wait_for_count(kubectl_with_operator, shared_namespace, 3)
    yield shared_namespace
    kubectl_with_operator.apply(pools.pool(shared_namespace, readers=READERS))


@contextmanager
def both_ways(kubectl: Kubectl, namespace: str, rate: float = RATE) -> Iterator[tuple[Load, Load]]:
    """Run a client that follows the status and one that follows the lookaside; both call all servers at the start."""
    status = f"pool:///{namespace}/greetserver"
    lookaside = f"lookaside://greetserver-lookaside/{namespace}/greetserver"
    with (
        traffic.load(kubectl, namespace, url=status, reader=True, rate=rate) as one,
        traffic.load(kubectl, namespace, url=lookaside, rate=rate) as other,
    ):
        ready = {pod for pod in pools.ready_pods_by_name(kubectl, namespace) if pod.startswith("greetserver-")}
        for load in (one, other):
            eventually("calls to all servers", lambda load=load: load.called() >= ready, every=1)  # type: ignore[misc]
        yield one, other


def _all_answered(*loads: Load) -> list[Summary]:
    """Stop the loads and check that no call failed."""
    summaries = [load.stop() for load in loads]
    for summary in summaries:
        print(summary.ok, summary.latency_ms)
        assert summary.failed == 0, summary.errors
    return summaries


def test_pods_come_and_go(kubectl_with_operator: Kubectl, pool: str) -> None:
    """Scaling (3-6-3) and a rolling restart at 500 calls/s fail no call, and all nine pods get calls."""
    with both_ways(kubectl_with_operator, pool) as loads:
        pools.scale_and_restart(kubectl_with_operator, pool)
        for summary in _all_answered(*loads):
            assert len(summary.pods) == 9


@pytest.mark.faults
def test_pod_is_killed(cluster: Cluster, kubectl_with_operator: Kubectl, pool: str) -> None:
    """When a pod is killed (kill -9) at 500 calls/s, its calls are retried, and no call fails."""
    _needs_faults(cluster)
    with both_ways(kubectl_with_operator, pool) as loads:
        killed = _pods(kubectl_with_operator, pool)[0]
        processes.kill_pod(cluster, killed)
        eventually("another address of the killed pod", lambda: _moved(kubectl_with_operator, pool, killed))
        pools.wait_for_count(kubectl_with_operator, pool, 3)
        _all_answered(*loads)


@pytest.mark.faults
def test_pod_is_behind_a_black_hole(cluster: Cluster, kubectl_with_operator: Kubectl, pool: str) -> None:
    """Clients stop calling a pod within seconds if all its packets are dropped, and no call fails."""
    _needs_faults(cluster)
    with both_ways(kubectl_with_operator, pool, rate=50) as loads:
        lost = _pods(kubectl_with_operator, pool)[0]
        with nodes.black_hole(cluster, lost["spec"]["nodeName"], lost["status"]["podIP"]):
            time.sleep(12)
            mark = time.time()
            time.sleep(5)
            for load in loads:
                late = [i for i in load.intervals(mark) if sum(i.pods.values()) < 0.8 * 50]
                assert not late, f"calls still wait for the unreachable pod: {late}"
        _all_answered(*loads)


@pytest.mark.faults
@pytest.mark.parametrize(("policy", "least"), [("RoundRobin", VOLUME), ("LeastRequest", 1)])
def test_pod_that_fails_at_once_is_left_alone(
    kubectl_with_operator: Kubectl, pool: str, policy: str, least: int
) -> None:
    """A backend that fails each call at once soon gets no more calls, and others answer all calls.

    With RoundRobin, it gets calls until it is ejected. With LeastRequest, it may get too few calls to be ejected, since
    a backend that has just failed a call counts as busy.
    """
    detection = {
        "intervalSeconds": 1,
        "baseEjectionSeconds": 60,
        "maxEjectionPercent": 50,
        "failurePercentage": {"threshold": 50, "minimumHosts": 3, "requestVolume": VOLUME},
    }
    kubectl_with_operator.apply(pools.pool(pool, readers=READERS, policy=policy, outlierDetection=detection))
    with (
        _another(kubectl_with_operator, pool, "failing", ["python", "-c", FAILING]),
        both_ways(kubectl_with_operator, pool, rate=100) as loads,
    ):
        time.sleep(8)
        one, other = _all_answered(*loads)
        log = kubectl_with_operator("logs", "deployment/failing", f"--namespace={pool}", "--tail=1").stdout
    assert least <= int(log) < 0.1 * (one.ok + other.ok), "unexpected number of calls to the failing backend"


@pytest.mark.faults
def test_pod_that_is_slow_gets_few_calls(kubectl_with_operator: Kubectl, pool: str) -> None:
    """With LeastRequest, a backend that takes 1 s per call gets less than 5 % of the calls."""
    kubectl_with_operator.apply(pools.pool(pool, readers=READERS, policy="LeastRequest"))
    env = [{"name": "GREET_DELAY_SECONDS", "value": "1"}]
    with (
        _another(kubectl_with_operator, pool, "slow", ["python", "-m", "greet", "server"], env),
        both_ways(kubectl_with_operator, pool) as loads,
    ):
        time.sleep(8)
        for summary in _all_answered(*loads):
            slow = sum(count for pod, count in summary.pods.items() if pod.startswith("slow-"))
            assert 0 < slow < 0.05 * summary.ok, summary.pods


@pytest.mark.faults
def test_api_server_is_away(cluster: Cluster, kubectl_with_operator: Kubectl, pool: str) -> None:
    """While the API server is down for a minute and a pod dies, no call fails; afterwards, a new pod gets calls."""
    _needs_faults(cluster)
    with both_ways(kubectl_with_operator, pool, rate=100) as loads:
        killed = _pods(kubectl_with_operator, pool)[0]
        with processes.stopped(cluster, "kube-apiserver"):
            time.sleep(20)
            processes.kill_pod(cluster, killed)
            time.sleep(40)
        eventually("a healthy cluster", lambda: not cluster.problems(), timeout=300)
        pools.scale(kubectl_with_operator, pool, 4)
        pools.wait_for_count(kubectl_with_operator, pool, 4)
        for load in loads:
            eventually("calls to the new pod", lambda load=load: len(load.called()) == 4)  # type: ignore[misc]
        _all_answered(*loads)
    nodes.wait_healthy(cluster, kubectl_with_operator)


@pytest.mark.faults
def test_lookaside_is_away(kubectl_with_operator: Kubectl, pool: str) -> None:
    """While no lookaside runs for a minute, no call fails; afterwards, a new pod gets calls."""
    with both_ways(kubectl_with_operator, pool, rate=100) as loads:
        kubectl_with_operator.apply(pools.pool(pool, readers=READERS, lookaside={"replicas": 0}))
        time.sleep(60)
        kubectl_with_operator.apply(pools.pool(pool, readers=READERS, lookaside={"replicas": 2}))
        pools.wait_ready(kubectl_with_operator, pool)
        pools.scale(kubectl_with_operator, pool, 4)
        pools.wait_for_count(kubectl_with_operator, pool, 4)
        for load in loads:
            eventually("calls to the new pod", lambda load=load: len(load.called()) == 4)  # type: ignore[misc]
        _all_answered(*loads)


def _needs_faults(cluster: Cluster) -> None:
    if not cluster.can_inject_faults:
        pytest.skip("needs a kind cluster: injects faults on a node")


def _pods(kubectl: Kubectl, namespace: str) -> list[dict[str, Any]]:
    found = kubectl.reader.pods(namespace, "run=greetserver")
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def _moved(kubectl: Kubectl, namespace: str, pod: dict[str, Any]) -> bool:
    address = pools.ready_pods_by_name(kubectl, namespace).get(pod["metadata"]["name"])
    return address not in (None, pod["status"]["podIP"])


@contextmanager
def _another(
    kubectl: Kubectl, namespace: str, name: str, command: list[str], env: list[dict[str, Any]] | None = None
) -> Iterator[None]:
    """Add a backend to the pool within the context: a Deployment that runs ``command`` in the greet image."""
    deployment = pools.backends(namespace, 1, name)
    labels = pools.LABELS | {"kind": name}
    deployment["spec"]["selector"]["matchLabels"] = labels
    deployment["spec"]["template"]["metadata"]["labels"] = labels
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    container.pop("args")
    container |= {"image": image_of("greet"), "command": command, "env": [*container["env"], *(env or ())]}
    kubectl.apply(deployment)
    try:
        kubectl.rollout(namespace, f"deployment/{name}")
        pools.wait_for_count(kubectl, namespace, 4)
        yield
    finally:
        kubectl("delete", "deployment", name, f"--namespace={namespace}")
        pools.wait_for_pods(kubectl, namespace, 3)

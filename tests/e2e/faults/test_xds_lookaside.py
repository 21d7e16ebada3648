"""Calls by gRPC's xDS client, in the gateway, while lookasides restart, die and are scaled to zero."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.support.faults.processes import kill_pod
from tools.cluster import Cluster
from tools.cluster.kubectl import Kubectl, eventually
from tools.demo import pools, stages, traffic

pytestmark = pytest.mark.alone

LOOKASIDE = "deployment/greetserver-lookaside"


@pytest.fixture
def xds_stage(cluster: Cluster, kubectl_with_operator: Kubectl) -> Iterator[str]:
    """The stage of xDS with three servers, ready, and each of them called; three of them at the end."""
    namespace = stages.deploy_ready(cluster, "5-xds")
    # One that had lost its lookaside in another test comes back by gRPC's own pauses, of up to two minutes.
    kubectl_with_operator("rollout", "restart", "deployment/greet-gateway", f"--namespace={namespace}")
    kubectl_with_operator.rollout(namespace, "deployment/greet-gateway")
    eventually("every pod answers", lambda: traffic.answering(kubectl_with_operator, namespace) == 3, every=1)
    yield namespace
    pools.scale(kubectl_with_operator, namespace, 3)


def test_rollout_of_the_lookaside_fails_no_call(kubectl_with_operator: Kubectl, xds_stage: str) -> None:
    """Both replicas replaced under 500 calls a second: none fails, and changes are followed afterwards."""
    with traffic.load(kubectl_with_operator, xds_stage, rate=500) as load:
        kubectl_with_operator("rollout", "restart", LOOKASIDE, f"--namespace={xds_stage}")
        kubectl_with_operator.rollout(xds_stage, LOOKASIDE)
        time.sleep(5)  # those that went take as long to end
        pools.scale(kubectl_with_operator, xds_stage, 4)
        pools.wait_for_count(kubectl_with_operator, xds_stage, 4)
        eventually("the fourth is called", lambda: len(load.called()) == 4, every=1)
        summary = load.stop()
    assert summary.failed == 0, summary.errors


@pytest.mark.parametrize("place", [0, pytest.param(1, marks=pytest.mark.faults)])
def test_killed_lookaside_is_left_at_once(
    cluster: Cluster, kubectl_with_operator: Kubectl, xds_stage: str, place: int
) -> None:
    """Either replica is killed, the one that the client follows among them: no call fails, and the next change is seen
    within two seconds."""
    if not cluster.can_inject_faults:
        pytest.skip("kills a process on a node, which is done on a cluster of our own only")
    before = set(pools.ready_pods_by_name(kubectl_with_operator, xds_stage))
    with traffic.load(kubectl_with_operator, xds_stage, rate=50) as load:
        killed = sorted(_lookasides(kubectl_with_operator, xds_stage), key=lambda pod: str(pod["metadata"]["name"]))[
            place
        ]
        kill_pod(cluster, killed)
        pools.scale(kubectl_with_operator, xds_stage, 4)
        pools.wait_for_count(kubectl_with_operator, xds_stage, 4)
        (new,) = pools.ready_pods_by_name(kubectl_with_operator, xds_stage).keys() - before
        eventually("the new pod is called", lambda: new in load.called())
        ready = pools.ready_at(kubectl_with_operator, xds_stage)[new]
        summary = load.stop()
    assert summary.failed == 0, summary.errors
    assert summary.first_answer[new] - ready < 3, "readiness is stated in whole seconds"


@pytest.mark.faults
def test_lookaside_away_changes_nothing(kubectl_with_operator: Kubectl, xds_stage: str) -> None:
    """With no replica for a minute calls go on with the last list; when they are back, so are changes."""
    with traffic.load(kubectl_with_operator, xds_stage, rate=50) as load:
        kubectl_with_operator(
            "patch", "gbp/greetserver", f"--namespace={xds_stage}", "--type=merge", "--patch", _replicas(0)
        )
        eventually("no lookaside", lambda: not _lookasides(kubectl_with_operator, xds_stage))
        time.sleep(60)
        kubectl_with_operator(
            "patch", "gbp/greetserver", f"--namespace={xds_stage}", "--type=merge", "--patch", _replicas(2)
        )
        pools.wait_ready(kubectl_with_operator, xds_stage)
        pools.scale(kubectl_with_operator, xds_stage, 4)
        pools.wait_for_count(kubectl_with_operator, xds_stage, 4)
        eventually(
            "the fourth is called",
            lambda: traffic.answering(kubectl_with_operator, xds_stage) == 4,
            timeout=300,
            every=2,
        )
        summary = load.stop()
    assert summary.failed == 0, summary.errors


def _replicas(count: int) -> str:
    return f'{{"spec": {{"lookaside": {{"replicas": {count}}}}}}}'


def _lookasides(kubectl: Kubectl, namespace: str) -> list[dict[str, Any]]:
    return kubectl.reader.pods(namespace, pools.LOOKASIDES)

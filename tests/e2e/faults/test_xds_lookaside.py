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
    """The xDS stage with three servers, each of which gets calls; reset to three servers after the test."""
    namespace = stages.deploy_ready(cluster, "5-xds")
    # A gateway that lost its lookaside in an earlier test would wait for gRPC's backoff of up to two minutes.
    kubectl_with_operator("rollout", "restart", "deployment/greet-gateway", f"--namespace={namespace}")
    kubectl_with_operator.rollout(namespace, "deployment/greet-gateway")
    eventually("answers from all three pods", lambda: traffic.answering(kubectl_with_operator, namespace) == 3, every=1)
    yield namespace
    pools.scale(kubectl_with_operator, namespace, 3)


def test_rollout_of_the_lookaside_fails_no_call(kubectl_with_operator: Kubectl, xds_stage: str) -> None:
    """Replacing both replicas at 500 calls/s fails no call, and clients follow later changes."""
    with traffic.load(kubectl_with_operator, xds_stage, rate=500) as load:
        kubectl_with_operator("rollout", "restart", LOOKASIDE, f"--namespace={xds_stage}")
        kubectl_with_operator.rollout(xds_stage, LOOKASIDE)
        time.sleep(5)  # the old replicas take this long to stop
        pools.scale(kubectl_with_operator, xds_stage, 4)
        pools.wait_for_count(kubectl_with_operator, xds_stage, 4)
        eventually("calls to the fourth pod", lambda: len(load.called()) == 4, every=1)
        summary = load.stop()
    assert summary.failed == 0, summary.errors


@pytest.mark.parametrize("place", [0, pytest.param(1, marks=pytest.mark.faults)])
def test_killed_lookaside_is_left_at_once(
    cluster: Cluster, kubectl_with_operator: Kubectl, xds_stage: str, place: int
) -> None:
    """When either replica is killed, no call fails, and clients see the next change within two seconds."""
    if not cluster.can_inject_faults:
        pytest.skip("needs a kind cluster: kills a process on a node")
    before = set(pools.ready_pods_by_name(kubectl_with_operator, xds_stage))
    with traffic.load(kubectl_with_operator, xds_stage, rate=50) as load:
        killed = sorted(_lookasides(kubectl_with_operator, xds_stage), key=lambda pod: str(pod["metadata"]["name"]))[
            place
        ]
        kill_pod(cluster, killed)
        pools.scale(kubectl_with_operator, xds_stage, 4)
        pools.wait_for_count(kubectl_with_operator, xds_stage, 4)
        (new,) = pools.ready_pods_by_name(kubectl_with_operator, xds_stage).keys() - before
        eventually("calls to the new pod", lambda: new in load.called())
        ready = pools.ready_at(kubectl_with_operator, xds_stage)[new]
        summary = load.stop()
    assert summary.failed == 0, summary.errors
    assert summary.first_answer[new] - ready < 3, "more than 2 s; the time of readiness is rounded to whole seconds"


@pytest.mark.faults
def test_lookaside_away_changes_nothing(kubectl_with_operator: Kubectl, xds_stage: str) -> None:
    """Without a lookaside for a minute, calls continue with the last endpoints; afterwards, clients follow changes."""
    with traffic.load(kubectl_with_operator, xds_stage, rate=50) as load:
        kubectl_with_operator(
            "patch", "gbp/greetserver", f"--namespace={xds_stage}", "--type=merge", "--patch", _replicas(0)
        )
        eventually("no lookaside pods", lambda: not _lookasides(kubectl_with_operator, xds_stage))
        time.sleep(60)
        kubectl_with_operator(
            "patch", "gbp/greetserver", f"--namespace={xds_stage}", "--type=merge", "--patch", _replicas(2)
        )
        pools.wait_ready(kubectl_with_operator, xds_stage)
        pools.scale(kubectl_with_operator, xds_stage, 4)
        pools.wait_for_count(kubectl_with_operator, xds_stage, 4)
        eventually(
            "calls to the fourth pod",
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

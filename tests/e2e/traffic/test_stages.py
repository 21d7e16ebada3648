"""Balancing in the stages of the example: the problem, two partial solutions, and the pool."""

from __future__ import annotations

import pytest

from tools.cluster import Cluster, deploy
from tools.cluster.kubectl import Kubectl
from tools.demo import pools, traffic
from tools.demo.stages import deploy_ready

pytestmark = pytest.mark.xdist_group("stages")


@pytest.fixture(scope="module")
def stages(cluster: Cluster, kubectl_with_operator: Kubectl) -> dict[str, str]:
    """Deploy all stages; return their namespaces by stage."""
    return {name: deploy_ready(cluster, name) for name in deploy.STAGES}


def test_sticky_one_pod_answers_all(kubectl_with_operator: Kubectl, stages: dict[str, str]) -> None:
    """Behind a ClusterIP, one of three pods gets all calls of a channel: the problem."""
    summary = traffic.calls(kubectl_with_operator, stages["1-sticky"], 300)
    assert (summary.ok, summary.failed, len(summary.pods)) == (300, 0, 1)


def test_headless_is_balanced_and_blind(kubectl_with_operator: Kubectl, stages: dict[str, str]) -> None:
    """With DNS and round_robin, calls are balanced over the pods that DNS listed first; new pods get none."""
    namespace = stages["2-headless"]
    before = traffic.calls(kubectl_with_operator, namespace, 300)
    assert len(before.pods) == 3
    assert min(before.pods.values()) >= 90
    with pools.scaled(kubectl_with_operator, namespace, 6, back=3):
        after = traffic.calls(kubectl_with_operator, namespace, 300)
    assert set(after.pods) == set(before.pods), "expected no calls to new pods"


def test_lookaside_is_balanced(kubectl_with_operator: Kubectl, stages: dict[str, str]) -> None:
    """With a Resolve before each call, each pod gets about its share, although each replica has its own rotation."""
    summary = traffic.calls(kubectl_with_operator, stages["3-lookaside"], 300)
    assert summary.failed == 0
    assert len(summary.pods) == 3
    assert min(summary.pods.values()) >= 90


def test_pool_gives_each_pod_its_share(kubectl_with_operator: Kubectl, stages: dict[str, str]) -> None:
    """Of 3,000 calls one after another, each pod gets its share within 1 %."""
    with traffic.load(kubectl_with_operator, stages["4-pool"], calls=3000) as load:
        summary = load.summary()
    assert (summary.ok, summary.failed, len(summary.pods)) == (3000, 0, 3)
    for pod, count in summary.pods.items():
        assert abs(count - 1000) <= 10, f"{pod} answered {count}"

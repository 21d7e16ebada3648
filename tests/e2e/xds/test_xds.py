"""Calls by gRPC's xDS client, in the gateway, during scaling and restarts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.support.namespaces import temporary_namespace
from tools.cluster import Cluster
from tools.cluster.kubectl import Kubectl, eventually
from tools.demo import pools, stages, traffic

pytestmark = pytest.mark.xdist_group("xds")


@pytest.fixture(scope="module")
def stage(cluster: Cluster, kubectl_with_operator: Kubectl) -> Iterator[str]:
    """The xDS stage in its own namespace; all three servers get calls."""
    with temporary_namespace(kubectl_with_operator, "xds") as namespace:
        stages.deploy_ready(cluster, "5-xds", namespace)
        _wait_answered(kubectl_with_operator, namespace)
        yield namespace


def test_no_call_fails_while_pods_come_and_go(kubectl_with_operator: Kubectl, stage: str) -> None:
    """Scaling from 3 to 6 to 3 pods and a restart fail no call. The 6 pods and the 3 new ones all get calls."""
    with traffic.load(kubectl_with_operator, stage, rate=50) as load:
        pools.scale_and_restart(kubectl_with_operator, stage)
        summary = load.stop()
    assert summary.failed == 0, summary.errors
    assert len(summary.pods) == 9


def test_no_backends_and_back(kubectl_with_operator: Kubectl, stage: str) -> None:
    """Without pods, each call fails with 503; with pods again, calls are answered."""
    pools.scale(kubectl_with_operator, stage, 0)
    pools.wait_for_count(kubectl_with_operator, stage, 0)
    refused = traffic.calls(kubectl_with_operator, stage, 20)
    assert (refused.ok, refused.failed) == (0, 20)
    assert all(error.startswith("503") for error in refused.errors), refused.errors
    pools.scale(kubectl_with_operator, stage, 3)
    pools.wait_for_count(kubectl_with_operator, stage, 3)
    _wait_answered(kubectl_with_operator, stage)


def _wait_answered(kubectl: Kubectl, namespace: str) -> None:
    eventually("answers from all three pods", lambda: traffic.answering(kubectl, namespace) == 3, every=1)

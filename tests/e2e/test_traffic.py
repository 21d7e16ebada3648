"""Calls through the gateway's pool mode while the world below it moves: none may fail that had a backend."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from . import deploy, pools, traffic
from .cluster import Cluster
from .kubectl import Kubectl, eventually

pytestmark = pytest.mark.alone

STAGE = "4-pool"
SERVER = "deployment/greetserver"


@pytest.fixture
def stage(cluster: Cluster, operator: Kubectl) -> Iterator[str]:
    """The pool stage with three servers, ready; as it was at the end."""
    namespace = deploy.stage(cluster, STAGE)
    pools.scale(operator, namespace, 3)
    pools.wait_ready(operator, namespace)
    pools.wait_for_count(operator, namespace, 3)
    _wait_answered(operator, namespace)
    yield namespace
    pools.scale(operator, namespace, 3)


def test_scaling_under_load(operator: Kubectl, stage: str) -> None:
    """3-6-3 at 50 calls a second: no call fails, new pods answer, pods that went get none."""
    with traffic.load(operator, stage, rate=50, seconds=20) as load:
        pools.scale(operator, stage, 6)
        pools.wait_for_count(operator, stage, 6)
        pools.scale(operator, stage, 3)
        pools.wait_for_count(operator, stage, 3)
        summary = load.summary()
    assert summary.failed == 0, summary.errors
    assert len(summary.pods) == 6


def test_no_backends_and_back(operator: Kubectl, stage: str) -> None:
    """3-0-3: with no pod each call is refused at once with 503; with pods again calls are answered again."""
    pools.scale(operator, stage, 0)
    pools.wait_for_count(operator, stage, 0)
    refused = traffic.calls(operator, stage, 20)
    assert (refused.ok, refused.failed) == (0, 20)
    assert all(error.startswith("503") for error in refused.errors), refused.errors
    pools.scale(operator, stage, 3)
    pools.wait_for_count(operator, stage, 3)
    _wait_answered(operator, stage)


def test_rolling_restart_fails_no_call(operator: Kubectl, stage: str) -> None:
    """All servers replaced at 200 calls a second, and 0 calls failed."""
    with traffic.load(operator, stage, rate=200, seconds=25) as load:
        time.sleep(3)
        operator("rollout", "restart", SERVER, f"--namespace={stage}")
        operator.rollout(stage, SERVER)
        summary = load.summary()
    assert summary.failed == 0, summary.errors
    assert summary.ok >= 4500, "the load was not what the test is about"
    assert len(summary.pods) == 6


def test_operator_away_changes_nothing(operator: Kubectl, cluster: Cluster, stage: str) -> None:
    """Without an operator calls go on, over all pods; when it is back it follows the pods again."""
    here = f"--namespace={deploy.OPERATOR_NAMESPACE}"
    operator("scale", "deployment/backendpool-operator", "--replicas=0", here)
    try:
        operator(
            "wait", "--for=delete", "pod", "--selector=app.kubernetes.io/component=operator", here, "--timeout=60s"
        )
        summary = traffic.calls(operator, stage, 300)
        assert (summary.failed, len(summary.pods)) == (0, 3)
    finally:
        operator("scale", "deployment/backendpool-operator", "--replicas=2", here)
    operator.rollout(deploy.OPERATOR_NAMESPACE, "deployment/backendpool-operator")
    pools.scale(operator, stage, 4)
    pools.wait_for_count(operator, stage, 4)


def test_api_server_away_changes_nothing(operator: Kubectl, cluster: Cluster, stage: str) -> None:
    """The API server stopped for 10 s under load: no call fails, be it by the pool's status or by the lookaside."""
    if not cluster.can_inject_faults:
        pytest.skip("stops a process on a node, which is done on a cluster of our own only")
    control_plane = next(node.name for node in cluster.nodes if not node.is_worker)
    lookaside = deploy.stage(cluster, "3-lookaside")
    pools.wait_ready(operator, lookaside)
    _wait_answered(operator, lookaside)
    with (
        traffic.load(operator, stage, rate=50, seconds=15) as load,
        traffic.load(operator, lookaside, rate=20, seconds=15) as asking,
    ):
        process = cluster.docker("exec", control_plane, "pgrep", "--exact", "kube-apiserver").strip()
        cluster.docker("exec", control_plane, "kill", "-STOP", process)
        try:
            time.sleep(10)
        finally:
            cluster.docker("exec", control_plane, "kill", "-CONT", process)
        for summary in (load.summary(), asking.summary()):
            assert summary.failed == 0, summary.errors
            assert len(summary.pods) == 3
    pools.scale(operator, stage, 4)
    pools.wait_for_count(operator, stage, 4)


def test_gateway_started_before_its_pool(operator: Kubectl, cluster: Cluster, stage: str) -> None:
    """Without a pool the gateway answers 503 and says why; applied, the pool is used without a restart."""
    manifest = str(deploy.REPOSITORY / "manifests/greet" / STAGE / "pool.yaml")
    here = f"--namespace={stage}"
    operator("delete", "gbp", "greetserver", here)
    operator("rollout", "restart", "deployment/greet-gateway", here)
    operator.rollout(stage, "deployment/greet-gateway")
    refused = traffic.calls(operator, stage, 5)
    assert (refused.ok, refused.failed) == (0, 5)
    assert all(error.startswith("503") for error in refused.errors), refused.errors
    operator("apply", f"--filename={manifest}", here)
    pools.wait_ready(operator, stage)
    _wait_answered(operator, stage)


def _wait_answered(kubectl: Kubectl, namespace: str) -> None:
    """Until the gateway has each of the three pods answer, and no call fails."""
    eventually("every pod answers", lambda: _all_answered(traffic.calls(kubectl, namespace, 12)), timeout=90, every=1)


def _all_answered(summary: traffic.Summary) -> traffic.Summary | None:
    return summary if summary.failed == 0 and len(summary.pods) == 3 else None

"""Calls through a gateway in pool mode during scaling and restarts: none fails while a backend is ready."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.e2e.support.namespaces import temporary_namespace
from tools.cluster import Cluster, deploy
from tools.cluster.kubectl import Kubectl, eventually
from tools.demo import pools, stages, traffic

pytestmark = pytest.mark.xdist_group("traffic")

STAGE = "4-pool"
SERVER = "deployment/greetserver"


@pytest.fixture(scope="module")
def shared_namespace(kubectl: Kubectl) -> Iterator[str]:
    with temporary_namespace(kubectl, "traffic") as namespace:
        yield namespace


@pytest.fixture
def stage(cluster: Cluster, kubectl_with_operator: Kubectl, shared_namespace: str) -> str:
    """The pool stage in its own namespace, reset before each test: all three servers get calls."""
    stages.deploy_ready(cluster, STAGE, shared_namespace)
    _wait_answered(kubectl_with_operator, shared_namespace)
    return shared_namespace


def test_scaling_under_load(kubectl_with_operator: Kubectl, stage: str) -> None:
    """Scaling (3-6-3) at 50 calls/s fails no call; new pods get calls, removed ones get none."""
    with traffic.load(kubectl_with_operator, stage, rate=50) as load:
        pools.scale(kubectl_with_operator, stage, 6)
        pools.wait_for_count(kubectl_with_operator, stage, 6)
        pools.scale(kubectl_with_operator, stage, 3)
        pools.wait_for_count(kubectl_with_operator, stage, 3)
        stay, since = set(pools.ready_pods_by_name(kubectl_with_operator, stage)), time.time()
        later = eventually("three complete intervals", lambda: _whole(load, since, count=3))
        summary = load.stop()
    assert summary.failed == 0, summary.errors
    assert len(summary.pods) == 6
    assert all(set(interval.pods) == stay for interval in later), f"expected calls to exactly {stay}: {later}"


def _whole(load: traffic.Load, since: float, count: int) -> list[traffic.Interval]:
    """Return the intervals that began after ``since``, or none until there are ``count`` of them."""
    ended = load.intervals(since)
    return ended[1:] if len(ended) > count else []


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


def test_rolling_restart_fails_no_call(kubectl_with_operator: Kubectl, stage: str) -> None:
    """During a rolling restart under load, no call fails, and at most 0.1 % of the attempts do.

    The demo does the same at 200 calls/s; its test runs alone on the machine.
    """
    old = set(pools.ready_pods_by_name(kubectl_with_operator, stage))
    tried = traffic.attempts(kubectl_with_operator, stage)
    with traffic.load(kubectl_with_operator, stage, rate=50) as load:
        eventually("the first interval of the load", lambda: load.intervals(0))
        begun = time.time()
        kubectl_with_operator("rollout", "restart", SERVER, f"--namespace={stage}")
        kubectl_with_operator.rollout(stage, SERVER)
        pools.wait_for_pods(kubectl_with_operator, stage, 3)
        lasted = time.time() - begun
        summary = load.stop()
    tries = traffic.attempts(kubectl_with_operator, stage) - tried
    assert summary.failed == 0, summary.errors
    assert summary.ok >= 25 * lasted, "the load was too low for the test"
    assert set(summary.pods) == old | set(pools.ready_pods_by_name(kubectl_with_operator, stage))
    assert len(summary.pods) == 6
    assert tries["failures"] <= summary.ok / 1000, (
        f"too many failed attempts, so stopping servers cancel calls in flight: {tries}"
    )


def test_gateway_started_before_its_pool(kubectl_with_operator: Kubectl, stage: str) -> None:
    """A gateway without a pool responds with 503; once the pool is applied, calls succeed without a restart."""
    manifest = str(deploy.REPOSITORY / "manifests/greet" / STAGE / "pool.yaml")
    here = f"--namespace={stage}"
    kubectl_with_operator("delete", "gbp", "greetserver", here)
    kubectl_with_operator("rollout", "restart", "deployment/greet-gateway", here)
    kubectl_with_operator.rollout(stage, "deployment/greet-gateway")
    refused = traffic.calls(kubectl_with_operator, stage, 5)
    assert (refused.ok, refused.failed) == (0, 5)
    assert all(error.startswith("503") for error in refused.errors), refused.errors
    kubectl_with_operator("apply", f"--filename={manifest}", here)
    pools.wait_ready(kubectl_with_operator, stage)
    _wait_answered(kubectl_with_operator, stage)


def _wait_answered(kubectl: Kubectl, namespace: str) -> None:
    """Wait until calls through the gateway reach all three pods and none fails."""
    eventually("answers from all three pods", lambda: _all_answered(traffic.calls(kubectl, namespace, 12)), every=1)


def _all_answered(summary: traffic.Summary) -> traffic.Summary | None:
    return summary if summary.failed == 0 and len(summary.pods) == 3 else None

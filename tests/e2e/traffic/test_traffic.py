"""Calls through a gateway in pool mode during scaling and restarts: no call fails while there is a backend."""

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
    """The pool stage in a namespace of these tests, as each of them finds it: three servers, all of them called."""
    stages.deploy_ready(cluster, STAGE, shared_namespace)
    _wait_answered(kubectl_with_operator, shared_namespace)
    return shared_namespace


def test_scaling_under_load(kubectl_with_operator: Kubectl, stage: str) -> None:
    """3-6-3 at 50 calls a second: no call fails, new pods answer, pods that went get none."""
    with traffic.load(kubectl_with_operator, stage, rate=50) as load:
        pools.scale(kubectl_with_operator, stage, 6)
        pools.wait_for_count(kubectl_with_operator, stage, 6)
        pools.scale(kubectl_with_operator, stage, 3)
        pools.wait_for_count(kubectl_with_operator, stage, 3)
        stay, since = set(pools.ready_pods_by_name(kubectl_with_operator, stage)), time.time()
        later = eventually("some intervals later", lambda: _whole(load, since, count=3))
        summary = load.stop()
    assert summary.failed == 0, summary.errors
    assert len(summary.pods) == 6
    assert all(set(interval.pods) == stay for interval in later), f"{stay} are there, and {later}"


def _whole(load: traffic.Load, since: float, count: int) -> list[traffic.Interval]:
    """The intervals that began after ``since``, once there are so many; each ends a second after the one before it."""
    ended = load.intervals(since)
    return ended[1:] if len(ended) > count else []


def test_no_backends_and_back(kubectl_with_operator: Kubectl, stage: str) -> None:
    """3-0-3: with no pod each call is refused at once with 503; with pods again calls are answered again."""
    pools.scale(kubectl_with_operator, stage, 0)
    pools.wait_for_count(kubectl_with_operator, stage, 0)
    refused = traffic.calls(kubectl_with_operator, stage, 20)
    assert (refused.ok, refused.failed) == (0, 20)
    assert all(error.startswith("503") for error in refused.errors), refused.errors
    pools.scale(kubectl_with_operator, stage, 3)
    pools.wait_for_count(kubectl_with_operator, stage, 3)
    _wait_answered(kubectl_with_operator, stage)


def test_rolling_restart_fails_no_call(kubectl_with_operator: Kubectl, stage: str) -> None:
    """All servers replaced under load, until the last old pod is gone: 0 calls failed, and hardly a try.

    The demo does it at 200 calls a second, and is run by a test that has the machine to itself.
    """
    old = set(pools.ready_pods_by_name(kubectl_with_operator, stage))
    tried = traffic.attempts(kubectl_with_operator, stage)
    with traffic.load(kubectl_with_operator, stage, rate=50) as load:
        eventually("the load is on", lambda: load.intervals(0))
        begun = time.time()
        kubectl_with_operator("rollout", "restart", SERVER, f"--namespace={stage}")
        kubectl_with_operator.rollout(stage, SERVER)
        pools.wait_for_pods(kubectl_with_operator, stage, 3)
        lasted = time.time() - begun
        summary = load.stop()
    tries = traffic.attempts(kubectl_with_operator, stage) - tried
    assert summary.failed == 0, summary.errors
    assert summary.ok >= 25 * lasted, "the load was not what the test is about"
    assert set(summary.pods) == old | set(pools.ready_pods_by_name(kubectl_with_operator, stage))
    assert len(summary.pods) == 6
    assert tries["failures"] <= summary.ok / 1000, f"servers that end do not let their calls finish: {tries}"


def test_gateway_started_before_its_pool(kubectl_with_operator: Kubectl, stage: str) -> None:
    """Without a pool the gateway answers 503 and says why; applied, the pool is used without a restart."""
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
    """Until the gateway has each of the three pods answer, and no call fails."""
    eventually("every pod answers", lambda: _all_answered(traffic.calls(kubectl, namespace, 12)), every=1)


def _all_answered(summary: traffic.Summary) -> traffic.Summary | None:
    return summary if summary.failed == 0 and len(summary.pods) == 3 else None

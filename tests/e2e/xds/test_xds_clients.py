"""Third-party xDS clients: grpc-go, and Envoy with JSON transcoding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
import yaml

from tests.e2e.support import xds_clients
from tools.cluster import Cluster, deploy
from tools.cluster.kubectl import Kubectl, eventually
from tools.demo import pools, stages, traffic

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("xds-clients")]

ENVOY = "http://greet-envoy:8080/greet"


@pytest.fixture
def envoy(
    cluster: Cluster, kubectl_with_operator: Kubectl, namespace: str, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The namespace of an xDS stage with Envoy in front of its pool, as in examples/envoy."""
    image = xds_clients.envoy(cluster, tmp_path_factory.mktemp("envoy"))
    stages.deploy_ready(cluster, "5-xds", namespace)
    example = _example(kubectl_with_operator, image).replace(deploy.STAGES["5-xds"], namespace)
    kubectl_with_operator("apply", "--server-side", "--filename=-", input=example)
    kubectl_with_operator.rollout(namespace, "deployment/greet-envoy")
    eventually(
        "answers from all three pods through Envoy",
        lambda: traffic.answering(kubectl_with_operator, namespace, url=ENVOY) == 3,
        every=1,
    )
    return namespace


def test_go_and_envoy_follow_the_pool(kubectl_with_operator: Kubectl, envoy: str, go_client: str) -> None:
    """Scaling and a rolling restart at 50 calls/s fail no call of grpc-go and Envoy, and both balance evenly."""
    with (
        xds_clients.load_by_go(kubectl_with_operator, envoy, go_client, rate=50) as by_go,
        traffic.load(kubectl_with_operator, envoy, url=ENVOY, rate=50) as by_envoy,
    ):
        pools.scale_and_restart(kubectl_with_operator, envoy)
        summaries = (by_go.stop(), by_envoy.stop())
    for summary in summaries:
        assert summary.failed == 0, summary.errors
        assert len(summary.pods) == 9
    with xds_clients.load_by_go(kubectl_with_operator, envoy, go_client, rate=50) as load:
        intervals = eventually("five intervals after the first calls to all pods", lambda: _connected(load, count=5))
        assert load.stop().failed == 0
        _even(sum((interval.pods for interval in intervals), Counter()))
    summary = traffic.calls(kubectl_with_operator, envoy, 300, url=ENVOY)
    assert summary.failed == 0, summary.errors
    _even(summary.pods)


def _connected(load: traffic.Load, count: int) -> list[traffic.Interval]:
    """Return ``count`` intervals after the first one with calls to all pods, or none until there are as many.

    Earlier intervals are uneven, since they call only the pods that are connected already.
    """
    intervals = load.intervals(0)
    first = next((n for n, interval in enumerate(intervals, 1) if len(interval.pods) == 3), len(intervals))
    later = intervals[first : first + count]
    return later if len(later) == count else []


def _even(pods: Mapping[str, int]) -> None:
    assert len(pods) == 3, pods
    assert min(pods.values()) >= 0.3 * sum(pods.values()) > 0, pods


def _example(kubectl: Kubectl, image: str) -> str:
    """Return the manifests of examples/envoy with our image of Envoy."""
    objects = list(yaml.safe_load_all(kubectl("kustomize", str(deploy.REPOSITORY / "examples" / "envoy")).stdout))
    for obj in objects:
        if obj["kind"] == "Deployment":
            (container,) = obj["spec"]["template"]["spec"]["containers"]
            container["image"] = image
    return yaml.safe_dump_all(objects)

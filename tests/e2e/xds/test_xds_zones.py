"""Zone preference with the bootstrap in docs/xds.md: a client prefers its own zone and falls back to others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from tests.e2e.support.gateways import gateway, url
from tools.cluster import deploy
from tools.cluster.kubectl import Kubectl, eventually
from tools.demo import pools, traffic

pytestmark = pytest.mark.long

ZONE = "topology.kubernetes.io/zone"
CLIENT = "in-its-zone"


def documented(namespace: str) -> str:
    """Return the bootstrap in section "Zones" of docs/xds.md, for the pool greetserver in ``namespace``."""
    text = (deploy.REPOSITORY / "docs" / "xds.md").read_text()
    (block,) = (b for b in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "GRPC_XDS_BOOTSTRAP_CONFIG" in b)
    (value,) = (e["value"] for e in yaml.safe_load(block)["env"] if e["name"] == "GRPC_XDS_BOOTSTRAP_CONFIG")
    return str(value).replace("default", namespace)


def zones(kubectl: Kubectl, namespace: str, name: str) -> dict[str, str]:
    """Return the zone label of each pod of a Deployment, by pod name."""
    found: list[dict[str, Any]] = kubectl.json("get", "pods", f"--namespace={namespace}", f"--selector=run={name}")[
        "items"
    ]
    return {pod["metadata"]["name"]: pod["metadata"]["labels"].get(ZONE, "") for pod in found}


def test_own_zone_is_called_first(kubectl_with_operator: Kubectl, namespace: str) -> None:
    """Calls stay in the client's zone while it has servers, go to another zone otherwise, and none fails."""
    servers = pools.backends(namespace, 4)
    spread = {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule"}
    servers["spec"]["template"]["spec"]["topologySpreadConstraints"] = [
        spread | {"labelSelector": {"matchLabels": pools.LABELS}}
    ]
    kubectl_with_operator.apply(servers, pools.pool(namespace, locality={"prefer": "Zone"}))
    pools.wait_ready(kubectl_with_operator, namespace)
    pools.wait_for_count(kubectl_with_operator, namespace, 4)
    env = {"GATEWAY_MODE": "xds", "GRPC_XDS_BOOTSTRAP_CONFIG": documented(namespace)}
    kubectl_with_operator.apply(*gateway(namespace, env, name=CLIENT))
    kubectl_with_operator.rollout(namespace, f"deployment/{CLIENT}")
    (own,) = zones(kubectl_with_operator, namespace, CLIENT).values()
    if not own:
        pytest.skip("needs Kubernetes 1.35 or newer, which labels pods with their zone")
    eventually(
        "an answer through the gateway", lambda: traffic.answering(kubectl_with_operator, namespace, url=url(CLIENT))
    )
    with traffic.load(kubectl_with_operator, namespace, url=url(CLIENT), rate=50) as load:
        near = _called(
            zones(kubectl_with_operator, namespace, "greetserver"),
            traffic.calls(kubectl_with_operator, namespace, 40, url=url(CLIENT)),
        )
        assert near == {own}
        kubectl_with_operator("patch", "deployment/greetserver", f"--namespace={namespace}", "--patch", _elsewhere(own))
        kubectl_with_operator.rollout(namespace, "deployment/greetserver")
        pools.wait_for_pods(kubectl_with_operator, namespace, 4)
        far = _called(
            zones(kubectl_with_operator, namespace, "greetserver"),
            traffic.calls(kubectl_with_operator, namespace, 40, url=url(CLIENT)),
        )
        summary = load.stop()
    assert own not in far
    assert summary.failed == 0, summary.errors


def _called(zone: Mapping[str, str], summary: traffic.Summary) -> set[str]:
    assert summary.failed == 0, summary.errors
    assert len(summary.pods) > 1
    return {zone[pod] for pod in summary.pods}


def _elsewhere(zone: str) -> str:
    """Return a patch that schedules servers in any zone but ``zone``."""
    term = {"matchExpressions": [{"key": ZONE, "operator": "NotIn", "values": [zone]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    pod = {"affinity": affinity, "topologySpreadConstraints": None}
    return str(yaml.safe_dump({"spec": {"template": {"spec": pod}}}))

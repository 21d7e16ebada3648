"""Pod Security Standard and network policies of the manifests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.cluster import deploy
from tools.cluster.kubectl import Kubectl
from tools.demo import pools

MANIFESTS = deploy.REPOSITORY / "manifests"
INSTALLABLE = ("operator", "operator/namespaced", *(f"greet/{stage}" for stage in deploy.STAGES))


def rendered(kubectl: Kubectl, folder: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(deploy.manifests(kubectl, folder)))


def pod_of(deployment: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """Return a pod of the Deployment, without its service account, which may not exist in ``namespace``."""
    spec = {k: v for k, v in deployment["spec"]["template"]["spec"].items() if not k.startswith("serviceAccount")}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", "namespace": namespace}, "spec": spec}


def admitted(kubectl: Kubectl, pod: dict[str, Any]) -> str:
    """Return why the API server rejects the pod; empty if it accepts it."""
    return kubectl("create", "--dry-run=server", "--filename=-", input=json.dumps(pod), check=False).stderr


@pytest.mark.parametrize("folder", INSTALLABLE)
def test_pods_meet_the_restricted_standard(kubectl_with_operator: Kubectl, namespace: str, folder: str) -> None:
    """All pods of the manifests meet the restricted Pod Security Standard, which their namespaces enforce."""
    objects = rendered(kubectl_with_operator, MANIFESTS / folder)
    (home,) = (obj["metadata"] for obj in objects if obj["kind"] == "Namespace")
    assert home["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    deployments = [obj for obj in objects if obj["kind"] == "Deployment"]
    assert deployments
    for deployment in deployments:
        assert admitted(kubectl_with_operator, pod_of(deployment, namespace)) == ""


def test_lookaside_meets_the_restricted_standard(kubectl_with_operator: Kubectl, namespace: str) -> None:
    """A lookaside runs under the restricted standard, and one that allows privilege escalation is rejected."""
    kubectl_with_operator.apply(pools.pool(namespace))
    kubectl_with_operator(
        "wait", "--for=create", "deployment/greetserver-lookaside", f"--namespace={namespace}", "--timeout=180s"
    )
    kubectl_with_operator.rollout(namespace, "deployment/greetserver-lookaside")
    deployment = kubectl_with_operator.json("get", "deployment", "greetserver-lookaside", f"--namespace={namespace}")
    pod = pod_of(deployment, namespace)
    assert admitted(kubectl_with_operator, pod) == ""
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    assert "violates PodSecurity" in admitted(kubectl_with_operator, pod)


def test_network_policy_selects_the_operators(kubectl_with_operator: Kubectl) -> None:
    """The operator's network policy selects exactly its pods, and opens exactly their ports."""
    _check_policy(
        kubectl_with_operator, deploy.OPERATOR_NAMESPACE, "backendpool-operator", "deployment/backendpool-operator"
    )


def test_network_policy_selects_the_lookasides(kubectl_with_operator: Kubectl, namespace: str) -> None:
    """One network policy selects the lookasides of all pools, on any port, and no backend."""
    kubectl_with_operator("apply", f"--namespace={namespace}", f"--kustomize={MANIFESTS / 'lookaside'}")
    two = ("greetserver", "other")
    kubectl_with_operator.apply(
        pools.backends(namespace, 1),
        pools.pool(namespace, lookaside={"replicas": 1}),
        pools.pool(namespace, "other", lookaside={"replicas": 1, "port": 6000}),
    )
    for name in two:
        pools.wait_ready(kubectl_with_operator, namespace, name)
    _check_policy(
        kubectl_with_operator, namespace, "backendpool-lookaside", *(f"deployment/{name}-lookaside" for name in two)
    )


def _check_policy(kubectl: Kubectl, namespace: str, name: str, *deployments: str) -> None:
    """Check that a policy selects only the pods of the Deployments, and opens the ports that each pod declares."""
    here = f"--namespace={namespace}"
    policy = kubectl.json("get", "networkpolicy", name, here)["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    opened = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    selected = _pods(kubectl, namespace, policy["podSelector"]["matchLabels"])
    wanted: dict[str, Any] = {}
    for deployment in deployments:
        wanted |= _pods(kubectl, namespace, kubectl.json("get", deployment, here)["spec"]["selector"]["matchLabels"])
    assert selected.keys() == wanted.keys() != set()
    for pod in selected.values():
        assert opened == {port["name"] for port in pod["spec"]["containers"][0]["ports"]}


def _pods(kubectl: Kubectl, namespace: str, labels: Mapping[str, str]) -> dict[str, Any]:
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    items = kubectl.json("get", "pods", f"--namespace={namespace}", f"--selector={selector}")["items"]
    return {pod["metadata"]["name"]: pod for pod in items}

"""What the tests and the demo install: the operator from manifests/operator, a stage from manifests/greet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from .cluster import Cluster
from .kubectl import Kubectl

REPOSITORY = Path(__file__).resolve().parents[2]
OPERATOR_NAMESPACE = "backendpool-system"

STAGES = {
    "1-sticky": "greet-sticky",
    "2-headless": "greet-headless",
    "3-lookaside": "greet-lookaside",
    "4-pool": "greet-pool",
}
"""The stages of the example application, and the namespace of each."""


def kubectl_of(cluster: Cluster) -> Kubectl:
    return Kubectl(tuple(cluster.kubectl_command))


def operator(cluster: Cluster) -> None:
    """Install or update the operator, and wait until it is ready."""
    kubectl = kubectl_of(cluster)
    _apply(cluster, "operator")
    kubectl("wait", "--for=condition=Established", "crd/grpcbackendpools.backendpool.io", "--timeout=30s")
    kubectl.rollout(OPERATOR_NAMESPACE, "deployment/backendpool-operator")


def stage(cluster: Cluster, name: str) -> str:
    """Install or update a stage of the example, wait until it serves, and return its namespace."""
    _apply(cluster, f"greet/{name}")
    kubectl_of(cluster).rollout(STAGES[name], "deployment/greetserver", "deployment/greet-gateway")
    return STAGES[name]


def _apply(cluster: Cluster, folder: str) -> None:
    """kubectl apply -k, with the content of the images noted on the pods that run them."""
    kubectl = kubectl_of(cluster)
    objects = list(yaml.safe_load_all(kubectl("kustomize", str(REPOSITORY / "manifests" / folder)).stdout))
    for obj in objects:
        if obj["kind"] == "Deployment":
            _note_content(cluster, obj["spec"]["template"])
    kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", input=yaml.safe_dump_all(objects))


def _note_content(cluster: Cluster, template: dict[str, Any]) -> None:
    """A tag stays the same while the content changes; pods roll when the content does, and only then."""
    if cluster.engine is None:
        return
    images = [container["image"] for container in template["spec"]["containers"]]
    content = cluster.docker("image", "inspect", "--format={{.Id}}", *images).split()
    template["metadata"].setdefault("annotations", {})["backendpool.io/image-content"] = ",".join(content)

"""Installs the operator (manifests/operator) and stages (manifests/greet) for the tests and the demo."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from tools.cluster import Cluster, image
from tools.cluster.kubectl import Kubectl

REPOSITORY = Path(__file__).resolve().parents[2]
OPERATOR_NAMESPACE = "backendpool-system"
CRD = "crd/grpcbackendpools.backendpool.io"
_APPLY = ("apply", "--server-side", "--force-conflicts")

STAGES = {
    "1-sticky": "greet-sticky",
    "2-headless": "greet-headless",
    "3-lookaside": "greet-lookaside",
    "4-pool": "greet-pool",
    "5-xds": "greet-xds",
}
"""The stages of the example application, and the namespace of each."""


def kubectl_of(cluster: Cluster) -> Kubectl:
    return Kubectl(tuple(cluster.kubectl_command))


def operator(cluster: Cluster) -> None:
    """Install or update the operator, and wait until it is ready."""
    kubectl = kubectl_of(cluster)
    _apply(cluster, "operator")
    kubectl("wait", "--for=condition=Established", CRD, "--timeout=180s")
    kubectl.rollout(OPERATOR_NAMESPACE, "deployment/backendpool-operator")


def stage(cluster: Cluster, name: str, namespace: str = "") -> str:
    """Install or update a stage of the example, wait until it serves, and return its namespace.

    Tests that change what other tests look at use their own ``namespace``.
    """
    home = namespace or STAGES[name]
    _apply(cluster, f"greet/{name}", {STAGES[name]: home})
    kubectl_of(cluster).rollout(home, "deployment/greetserver", "deployment/greet-gateway")
    return home


def shown(folder: str) -> str:
    """Return the command that installs a folder of manifests, as a person would type it."""
    return f"kubectl {' '.join(_APPLY)} -k manifests/{folder}"


def manifests(kubectl: Kubectl, folder: Path) -> str:
    """Return what `kubectl apply -k` would apply, with the image names of this cluster."""
    text = kubectl("kustomize", str(folder)).stdout
    for target in ("operator", "greet"):
        text = text.replace(f"backendpool/{target}:dev", image(target))
    return text


def remove(cluster: Cluster) -> str:
    """Remove the demo stages and the operator; return remaining pools, which keep operator and CRD installed."""
    kubectl = kubectl_of(cluster)
    kubectl("delete", "namespace", *STAGES.values(), "--ignore-not-found", "--timeout=180s", timeout=200)
    if kubectl("get", CRD, "--ignore-not-found", "--output=name").stdout:
        left = kubectl("get", "grpcbackendpools", "--all-namespaces", "--no-headers", "--ignore-not-found").stdout
        if left:
            return left
    text = manifests(kubectl, REPOSITORY / "manifests" / "operator")
    kubectl("delete", "--filename=-", "--ignore-not-found", "--timeout=180s", input=text, timeout=200)
    return ""


def _apply(cluster: Cluster, folder: str, namespaces: Mapping[str, str] = MappingProxyType({})) -> None:
    """Apply a folder with other ``namespaces``, and annotate pods with the content of their images."""
    kubectl = kubectl_of(cluster)
    text = manifests(kubectl, REPOSITORY / "manifests" / folder)
    for name, another in namespaces.items():
        text = text.replace(name, another)
    objects = list(yaml.safe_load_all(text))
    for obj in objects:
        if obj["kind"] == "Deployment":
            _note_content(cluster, obj["spec"]["template"])
    kubectl(*_APPLY, "--filename=-", input=yaml.safe_dump_all(objects))


def _note_content(cluster: Cluster, template: dict[str, Any]) -> None:
    """Annotate pods with the content of their images, so that they roll when the content of a tag changes."""
    if cluster.engine is None:
        return
    images = [container["image"] for container in template["spec"]["containers"]]
    content = cluster.docker("image", "inspect", "--format={{.Id}}", *images).split()
    template["metadata"].setdefault("annotations", {})["backendpool.io/image-content"] = ",".join(content)

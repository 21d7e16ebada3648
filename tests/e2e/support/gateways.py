"""Manifests of a greet gateway for a test, derived from manifests/greet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from tests.e2e.support.mounts import mount
from tools.cluster import deploy, image

NAME = "greet-gateway"


def gateway(
    namespace: str,
    env: Mapping[str, str],
    *,
    name: str = NAME,
    config_maps: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Return a Deployment and a Service ``name``. ``env`` overrides variables; mounts are given by path."""
    base = deploy.REPOSITORY / "manifests" / "greet" / "base" / "gateway.yaml"
    service, deployment = (o for o in yaml.safe_load_all(base.read_text()) if o["kind"] in ("Service", "Deployment"))
    for obj in (service, deployment):
        obj["metadata"] = {"name": name, "namespace": namespace}
    pod = deployment["spec"]["template"]
    labels = pod["metadata"]["labels"] = {"run": name}
    service["spec"]["selector"] = deployment["spec"]["selector"]["matchLabels"] = labels
    pod["spec"].pop("serviceAccountName")
    pod["spec"]["automountServiceAccountToken"] = False
    (container,) = pod["spec"]["containers"]
    container["image"] = image("greet")
    container["env"] = [
        {"name": "ZONE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['topology.kubernetes.io/zone']"}}},
        *(entry for entry in container["env"] if entry["name"] not in env),
        *({"name": variable, "value": value} for variable, value in env.items()),
    ]
    mount(pod, config_maps, secrets)
    return [service, deployment]


def url(name: str = NAME) -> str:
    """The URL that accepts greetings."""
    return f"http://{name}:9091/greet"

"""Builders of pools, as the API server returns them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from backendpool.api.pool import Pool, parse_pool

SELECTOR = {"run": "greetserver"}

CRD_FILE = Path(__file__).resolve().parents[2] / "crds" / "grpcbackendpools.yaml"


def document(name: str = "greetserver", **spec: Any) -> dict[str, Any]:
    """A GrpcBackendPool as the API server sends it, with ``spec`` over the least that is needed."""
    return {
        "metadata": {
            "namespace": "default",
            "name": name,
            "uid": "pool-uid",
            "generation": 3,
            "resourceVersion": "41",
        },
        "spec": {"selector": SELECTOR, "port": 50051, **spec},
    }


def pool(name: str = "greetserver", **spec: Any) -> Pool:
    """The same, typed."""
    return parse_pool(document(name, **spec))


def crd_schema() -> dict[str, Any]:
    """The schema of a GrpcBackendPool, by the names of its top fields."""
    versions = yaml.safe_load(CRD_FILE.read_text())["spec"]["versions"]
    properties: dict[str, Any] = versions[0]["schema"]["openAPIV3Schema"]["properties"]
    return properties

"""The CustomResourceDefinition of a GrpcBackendPool, read from its manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

CRD_FILE: Final = Path(__file__).resolve().parents[2] / "crds" / "grpcbackendpools.yaml"


def crd_schema() -> dict[str, Any]:
    """Return the schema of each top-level field, by its name."""
    versions = yaml.safe_load(CRD_FILE.read_text())["spec"]["versions"]
    properties: dict[str, Any] = versions[0]["schema"]["openAPIV3Schema"]["properties"]
    return properties

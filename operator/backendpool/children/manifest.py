"""What all children of a pool have in common, and the pieces that several are made of. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from backendpool.api.constants import (
    API_VERSION,
    COMPONENT_LABEL,
    DIGEST_ANNOTATION,
    KIND,
    POOL_LABEL,
    PORT_NAME,
)
from backendpool.api.pool import Pool

Child: TypeAlias = dict[str, Any]
"""A manifest with ``apiVersion`` and ``kind``, ready for server-side apply."""

RBAC: Final = "rbac.authorization.k8s.io"


def child(pool: Pool, api_version: str, kind: str, name: str, component: str, **body: object) -> Child:
    """A child of ``pool``, with its labels and its owner."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": pool.namespace,
            "labels": {
                "app.kubernetes.io/name": "backendpool",
                "app.kubernetes.io/instance": pool.name,
                COMPONENT_LABEL: component,
                "app.kubernetes.io/managed-by": "backendpool-operator",
                POOL_LABEL: pool.name,
            },
            "ownerReferences": [_owner(pool)],
        },
        **body,
    }


def grant(
    pool: Pool, name: str, component: str, rules: Iterable[Mapping[str, Any]], accounts: Iterable[str]
) -> tuple[Child, Child]:
    """A Role of these rules, and its binding to service accounts of the pool's namespace."""
    subjects = [
        {"kind": "ServiceAccount", "name": account, "namespace": pool.namespace} for account in sorted(set(accounts))
    ]
    role_ref = {"apiGroup": RBAC, "kind": "Role", "name": name}
    return (
        child(pool, f"{RBAC}/v1", "Role", name, component, rules=[dict(rule) for rule in rules]),
        child(pool, f"{RBAC}/v1", "RoleBinding", name, component, roleRef=role_ref, subjects=subjects),
    )


def headless_service(
    pool: Pool, name: str, component: str, selector: Mapping[str, str], port: Mapping[str, Any], **more: str
) -> Child:
    """A Service without an address of its own: its name has those of all its pods."""
    body = {"type": "ClusterIP", "clusterIP": "None", **more, "selector": dict(selector), "ports": [dict(port)]}
    return child(pool, "v1", "Service", name, component, spec=body)


def service_port(port: int, target: int | str, *, tls: bool = False) -> dict[str, Any]:
    """A Service's port for gRPC; meshes and gateways go by ``appProtocol`` (KEP-3726), which has no word for gRPC
    over TLS."""
    plain = {} if tls else {"appProtocol": "kubernetes.io/h2c"}
    return {"name": PORT_NAME, "port": port, "protocol": "TCP", "targetPort": target, **plain}


def digest(manifest: Mapping[str, Any]) -> str:
    """Names the content of a manifest; equal manifests have equal digests."""
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def sealed(manifest: Child) -> Child:
    """With its own digest as an annotation: it tells a field that is no longer desired from a foreign one."""
    metadata = {**manifest["metadata"], "annotations": {DIGEST_ANNOTATION: digest(manifest)}}
    return {**manifest, "metadata": metadata}


def _owner(pool: Pool) -> dict[str, Any]:
    """Without blockOwnerDeletion, which would need rights on the pool's finalizers."""
    return {"apiVersion": API_VERSION, "kind": KIND, "name": pool.name, "uid": pool.uid, "controller": True}

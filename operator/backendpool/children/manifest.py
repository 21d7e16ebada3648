"""References, labels, owners and building blocks of the manifests of a pool's children. Pure."""

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

KubernetesObject: TypeAlias = Mapping[str, Any]
"""An object as the API server sends it."""

ChildRef: TypeAlias = tuple[str, str]
"""Kind and name of a child; the namespace is the pool's."""

RBAC: Final = "rbac.authorization.k8s.io"


def ref_of(child: KubernetesObject) -> ChildRef:
    return (child["kind"], child["metadata"]["name"])


def child(pool: Pool, api_version: str, kind: str, name: str, component: str, **body: object) -> Child:
    """Build a child of ``pool`` with its labels and owner reference."""
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
    """Build a Role with these rules, and its RoleBinding to service accounts of the pool's namespace."""
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
    """Build a Service without a cluster IP: its DNS name resolves to the addresses of all its pods."""
    body = {"type": "ClusterIP", "clusterIP": "None", **more, "selector": dict(selector), "ports": [dict(port)]}
    return child(pool, "v1", "Service", name, component, spec=body)


def service_port(port: int, target: int | str, *, tls: bool = False) -> dict[str, Any]:
    """Build a Service port for gRPC; ``appProtocol`` (KEP-3726), for meshes and gateways, has no value for TLS."""
    plain = {} if tls else {"appProtocol": "kubernetes.io/h2c"}
    return {"name": PORT_NAME, "port": port, "protocol": "TCP", "targetPort": target, **plain}


def digest(manifest: Mapping[str, Any]) -> str:
    """Return a digest of a manifest's content."""
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def with_digest(manifest: Child) -> Child:
    """Annotate a manifest with its digest, which tells a field that is no longer desired from a foreign one."""
    metadata = {**manifest["metadata"], "annotations": {DIGEST_ANNOTATION: digest(manifest)}}
    return {**manifest, "metadata": metadata}


def _owner(pool: Pool) -> dict[str, Any]:
    """Without blockOwnerDeletion, which would need permission on the pool's finalizers."""
    return {"apiVersion": API_VERSION, "kind": KIND, "name": pool.name, "uid": pool.uid, "controller": True}

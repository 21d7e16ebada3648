"""The objects that a pool is made of, as they should be. Pure: a pool in, manifests out.

Everything is namespaced, owned by the pool (so that deleting it needs no finalizer) and applied by
server-side apply, so a manifest holds what we care about and nothing else. Fields whose zero value the API
server drops are left out, or they would look like drift for ever.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from backendpool.lookaside_pod import pod_template, selector_labels
from backendpool.names import (
    API_VERSION,
    BACKENDS,
    COMPONENT_LABEL,
    DIGEST_ANNOTATION,
    GROUP,
    KIND,
    PLURAL,
    POOL_LABEL,
    PORT_NAME,
    lookaside_name,
    reader_name,
)
from backendpool.pool import Pool
from backendpool.spec import PoolSpec

Child: TypeAlias = dict[str, Any]
"""A manifest with ``apiVersion`` and ``kind``, ready for server-side apply."""

RBAC: Final = "rbac.authorization.k8s.io"

HEADLESS_PORT: Final = 50051
"""The Service's port where ``spec.port`` is a name. A headless Service does not translate ports, so nothing
depends on the number; this is the one that gRPC's examples listen on."""


def children(pool: Pool, image: str) -> tuple[Child, ...]:
    """Every child of ``pool``, its lookaside running ``image``; raises SpecError where the spec is bad.

    The order is that in which they are best made: what others refer to stands first.
    """
    spec = pool.valid_spec()
    return tuple(
        _sealed(child)
        for child in (_headless_service(pool, spec), *_lookaside(pool, spec, image), *_reader(pool, spec))
    )


def digest(manifest: Mapping[str, Any]) -> str:
    """Names the content of a manifest; equal manifests have equal digests."""
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _sealed(manifest: Child) -> Child:
    """With its own digest as an annotation: it tells a field that is no longer desired from a foreign one."""
    metadata = {**manifest["metadata"], "annotations": {DIGEST_ANNOTATION: digest(manifest)}}
    return {**manifest, "metadata": metadata}


def _headless_service(pool: Pool, spec: PoolSpec) -> Child:
    number = spec.port if isinstance(spec.port, int) else HEADLESS_PORT
    body = {
        "type": "ClusterIP",
        "clusterIP": "None",
        "ipFamilyPolicy": "SingleStack",
        "selector": dict(spec.selector),
        "ports": [_service_port(number, spec.port)],
    }
    return _child(pool, "v1", "Service", pool.name, BACKENDS, spec=body)


def _lookaside(pool: Pool, spec: PoolSpec, image: str) -> tuple[Child, ...]:
    if not spec.lookaside.replicas:
        return ()
    # A budget for one replica would forbid every eviction, or allow all: either says nothing.
    budget = (_budget(pool),) if spec.lookaside.replicas > 1 else ()
    # Slices cannot be granted by their Service's label, so it is all of the namespace's.
    rule = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}
    name = lookaside_name(pool.name)
    return (
        _child(pool, "v1", "ServiceAccount", name, "lookaside", automountServiceAccountToken=False),
        *_grant(pool, name, "lookaside", rule, (name,)),
        _deployment(pool, spec, image),
        _lookaside_service(pool, spec),
        *budget,
    )


def _reader(pool: Pool, spec: PoolSpec) -> tuple[Child, ...]:
    if not spec.readers:
        return ()
    rule = {
        "apiGroups": [GROUP],
        "resources": [PLURAL],
        "resourceNames": [pool.name],
        "verbs": ["get", "list", "watch"],
    }
    return _grant(pool, reader_name(pool.name), "reader", rule, spec.readers)


def _deployment(pool: Pool, spec: PoolSpec, image: str) -> Child:
    body = {
        "replicas": spec.lookaside.replicas,
        "revisionHistoryLimit": 2,
        "selector": {"matchLabels": selector_labels(pool)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": pod_template(pool, spec.lookaside, image),
    }
    return _child(pool, "apps/v1", "Deployment", lookaside_name(pool.name), "lookaside", spec=body)


def _lookaside_service(pool: Pool, spec: PoolSpec) -> Child:
    body = {
        "type": "ClusterIP",
        "selector": selector_labels(pool),
        "ports": [_service_port(spec.lookaside.port, PORT_NAME)],
    }
    return _child(pool, "v1", "Service", lookaside_name(pool.name), "lookaside", spec=body)


def _budget(pool: Pool) -> Child:
    body = {"maxUnavailable": 1, "selector": {"matchLabels": selector_labels(pool)}}
    return _child(pool, "policy/v1", "PodDisruptionBudget", lookaside_name(pool.name), "lookaside", spec=body)


def _grant(
    pool: Pool, name: str, component: str, rule: Mapping[str, Any], accounts: tuple[str, ...]
) -> tuple[Child, Child]:
    """A Role of one rule, and its binding to service accounts of the pool's namespace."""
    subjects = [
        {"kind": "ServiceAccount", "name": account, "namespace": pool.namespace} for account in sorted(set(accounts))
    ]
    role_ref = {"apiGroup": RBAC, "kind": "Role", "name": name}
    return (
        _child(pool, f"{RBAC}/v1", "Role", name, component, rules=[dict(rule)]),
        _child(pool, f"{RBAC}/v1", "RoleBinding", name, component, roleRef=role_ref, subjects=subjects),
    )


def _service_port(port: int, target: int | str) -> dict[str, Any]:
    return {
        "name": PORT_NAME,
        "port": port,
        "protocol": "TCP",
        "targetPort": target,
        # gRPC is HTTP/2 without TLS here; meshes and gateways read this (KEP-3726).
        "appProtocol": "kubernetes.io/h2c",
    }


def _child(pool: Pool, api_version: str, kind: str, name: str, component: str, **body: object) -> Child:
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


def _owner(pool: Pool) -> dict[str, Any]:
    """Without blockOwnerDeletion, which would need rights on the pool's finalizers."""
    return {"apiVersion": API_VERSION, "kind": KIND, "name": pool.name, "uid": pool.uid, "controller": True}

"""What a pool's lookaside is made of: its pods, its rights, its Service, and the bootstrap of its xDS clients. Pure."""

from __future__ import annotations

import json
from typing import Any, Final

from backendpool.api.constants import GROUP, PLURAL, PORT_NAME, lookaside_name, xds_name
from backendpool.api.pool import Pool
from backendpool.api.spec import LookasideSpec
from backendpool.children.lookaside_pod import pod_template, selector_labels
from backendpool.children.manifest import Child, child, grant, headless_service, service_port
from backendpool.children.xds_bootstrap import bootstrap

_COMPONENT: Final = "lookaside"


def lookaside(pool: Pool, spec: LookasideSpec, image: str) -> tuple[Child, ...]:
    """All of it, what others refer to first; nothing where the pool has no lookaside."""
    if not spec.replicas:
        return ()
    # A budget for one replica would forbid every eviction, or allow all: either says nothing.
    budget = (_budget(pool),) if spec.replicas > 1 else ()
    name = lookaside_name(pool.name)
    return (
        child(pool, "v1", "ServiceAccount", name, _COMPONENT, automountServiceAccountToken=False),
        *grant(pool, name, _COMPONENT, _rules(pool), (name,)),
        _service(pool, spec),
        *budget,
        _bootstrap(pool, spec),
        _deployment(pool, spec, image),
    )


def _rules(pool: Pool) -> tuple[dict[str, Any], ...]:
    """The pool's endpoints, and how its author wants them used."""
    return (
        # Slices cannot be granted by their Service's label, so it is all of the namespace's.
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
        {"apiGroups": [GROUP], "resources": [PLURAL], "resourceNames": [pool.name], "verbs": ["list", "watch"]},
    )


def _deployment(pool: Pool, spec: LookasideSpec, image: str) -> Child:
    body = {
        "replicas": spec.replicas,
        "revisionHistoryLimit": 2,
        "selector": {"matchLabels": selector_labels(pool)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": pod_template(pool, spec, image),
    }
    return child(pool, "apps/v1", "Deployment", lookaside_name(pool.name), _COMPONENT, spec=body)


def _service(pool: Pool, spec: LookasideSpec) -> Child:
    """Headless: a client that knows the address of each server tries the next at once when one is gone."""
    port = service_port(spec.port, PORT_NAME, tls=bool(spec.tls_secret))
    return headless_service(pool, lookaside_name(pool.name), _COMPONENT, selector_labels(pool), port)


def _budget(pool: Pool) -> Child:
    body = {"maxUnavailable": 1, "selector": {"matchLabels": selector_labels(pool)}}
    return child(pool, "policy/v1", "PodDisruptionBudget", lookaside_name(pool.name), _COMPONENT, spec=body)


def _bootstrap(pool: Pool, spec: LookasideSpec) -> Child:
    data = {"bootstrap.json": _file(bootstrap(pool))}
    if spec.tls_secret:
        data["bootstrap-without-certificate.json"] = _file(bootstrap(pool, certificate=False))
    return child(pool, "v1", "ConfigMap", xds_name(pool.name), "xds", data=data)


def _file(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2) + "\n"

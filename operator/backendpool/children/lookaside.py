"""The manifests of a pool's lookaside: pods, permissions, Service, and the bootstrap of its xDS clients. Pure.

The pods meet the ``restricted`` Pod Security Standard, so that a pool works in any namespace.
"""

from __future__ import annotations

import json
from typing import Any, Final

from backendpool.api.constants import GROUP, METRICS_PORT, PLURAL, POOL_LABEL, PORT_NAME, lookaside_name, xds_name
from backendpool.api.pool import Pool
from backendpool.api.spec import LookasideSpec
from backendpool.children.manifest import Child, child, grant, headless_service, service_port
from backendpool.children.xds_bootstrap import bootstrap

_COMPONENT: Final = "lookaside"

NONROOT: Final = 65532
"""The user and group ``nonroot`` of distroless images."""

GRACE_SECONDS: Final = 30
"""Time for streams to end and for clients to connect to another replica."""

_TLS_VOLUME: Final = "tls"
_TLS_FOLDER: Final = "/var/run/secrets/backendpool.io/tls"


def lookaside(pool: Pool, spec: LookasideSpec, image: str) -> tuple[Child, ...]:
    """Return all manifests, referenced ones first; empty if the pool has no lookaside."""
    if not spec.replicas:
        return ()
    # A budget for a single replica would either forbid every eviction or allow all.
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
    return (
        # RBAC cannot select by label: the lookaside may read all EndpointSlices of the namespace.
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
    """Headless: a client that knows each server's address fails over at once."""
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


def selector_labels(pool: Pool) -> dict[str, str]:
    """Return the labels that select a pool's lookaside pods.

    No pool selects them by accident: the CRD rejects selectors in ``backendpool.io/``, and the name is not that of the
    pool or its application.
    """
    return {"app.kubernetes.io/name": "backendpool-lookaside", POOL_LABEL: pool.name}


def pod_template(pool: Pool, lookaside: LookasideSpec, image: str) -> dict[str, Any]:
    """``spec.template`` of the Deployment."""
    return {
        "metadata": {
            "labels": selector_labels(pool),
            # Annotations by which a Prometheus without the operator's resources discovers pods.
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": str(METRICS_PORT)},
        },
        "spec": {
            "serviceAccountName": lookaside_name(pool.name),
            "automountServiceAccountToken": True,
            # Environment variables of the namespace's Services could be mistaken for settings.
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": NONROOT,
                "runAsGroup": NONROOT,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "topologySpreadConstraints": [
                _spread(pool, "kubernetes.io/hostname"),
                _spread(pool, "topology.kubernetes.io/zone"),
            ],
            "containers": [_container(pool, lookaside, image)],
            **({"volumes": [_tls_volume(lookaside.tls_secret)]} if lookaside.tls_secret else {}),
        },
    }


def _container(pool: Pool, lookaside: LookasideSpec, image: str) -> dict[str, Any]:
    env = {
        "POOL_NAME": pool.name,
        "POOL_NAMESPACE": pool.namespace,
        "LOOKASIDE_PORT": str(lookaside.port),
        "METRICS_PORT": str(METRICS_PORT),
        **({"LOOKASIDE_TLS_FOLDER": _TLS_FOLDER} if lookaside.tls_secret else {}),
    }
    mounts = [{"name": _TLS_VOLUME, "mountPath": _TLS_FOLDER, "readOnly": True}] if lookaside.tls_secret else []
    resources = {kind: dict(amounts) for kind, amounts in lookaside.resources.items() if amounts}
    return {
        "name": "lookaside",
        "image": image,
        "command": ["backendpool", "lookaside"],
        "env": [{"name": name, "value": value} for name, value in env.items()],
        "ports": [
            {"name": PORT_NAME, "containerPort": lookaside.port, "protocol": "TCP"},
            {"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"},
        ],
        # HTTP probes, since kubelet's gRPC probes cannot use TLS. Nodes on which many pods start respond slowly: it
        # may take five minutes, and liveness fails after two.
        "startupProbe": _probe("/healthz", periodSeconds=1, timeoutSeconds=10, failureThreshold=300),
        "readinessProbe": _probe("/readyz", periodSeconds=2, timeoutSeconds=5, failureThreshold=3),
        "livenessProbe": _probe("/healthz", periodSeconds=20, timeoutSeconds=10, failureThreshold=6),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # For the message in the pool's conditions.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **({"volumeMounts": mounts} if mounts else {}),
        **({"resources": resources} if resources else {}),
    }


def _probe(path: str, **timing: int) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": "metrics"}, **timing}


def _tls_volume(secret: str) -> dict[str, Any]:
    """As cert-manager writes the Secret. Certificate and key are required; ``ca.crt`` turns on client certificates."""
    needed = {"name": secret, "items": [{"key": key, "path": key} for key in ("tls.crt", "tls.key")]}
    wished = {"name": secret, "items": [{"key": "ca.crt", "path": "ca.crt"}], "optional": True}
    return {"name": _TLS_VOLUME, "projected": {"sources": [{"secret": needed}, {"secret": wished}]}}


def _spread(pool: Pool, topology_key: str) -> dict[str, Any]:
    """Best effort: on a cluster of one node a lookaside still runs."""
    return {
        "topologyKey": topology_key,
        "maxSkew": 1,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector_labels(pool)},
        # Without it, the pods that a rollout replaces would count.
        "matchLabelKeys": ["pod-template-hash"],
    }

"""The pod template of a pool's lookaside. Pure.

It meets the ``restricted`` Pod Security Standard, so that a pool works in any namespace.
"""

from __future__ import annotations

from typing import Any, Final

from backendpool.api.constants import METRICS_PORT, POOL_LABEL, PORT_NAME, lookaside_name
from backendpool.api.pool import Pool
from backendpool.api.spec import LookasideSpec

NONROOT: Final = 65532
"""The user and group that distroless images call nonroot."""

GRACE_SECONDS: Final = 30
"""For streams to end and for clients to find another replica."""


_TLS_VOLUME: Final = "tls"
_TLS_FOLDER: Final = "/var/run/secrets/backendpool.io/tls"


def selector_labels(pool: Pool) -> dict[str, str]:
    """The labels by which a pool's lookaside pods are found.

    No author finds them without meaning to: the CRD refuses selectors in ``backendpool.io/``, and the name is not
    the pool's, nor that of the program it stands before.
    """
    return {"app.kubernetes.io/name": "backendpool-lookaside", POOL_LABEL: pool.name}


def pod_template(pool: Pool, lookaside: LookasideSpec, image: str) -> dict[str, Any]:
    """``spec.template`` of the Deployment."""
    return {
        "metadata": {
            "labels": selector_labels(pool),
            # What a Prometheus goes by that nobody has told of this pod.
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": str(METRICS_PORT)},
        },
        "spec": {
            "serviceAccountName": lookaside_name(pool.name),
            "automountServiceAccountToken": True,
            # Service variables of a namespace's other Services could be taken for settings.
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
        # By HTTP and not by gRPC, which the kubelet speaks without TLS alone. A node on which many pods start answers
        # late: a slow start has five minutes, and liveness fails after two.
        "startupProbe": _probe(
            "/healthz", initialDelaySeconds=1, periodSeconds=2, timeoutSeconds=10, failureThreshold=150
        ),
        "readinessProbe": _probe("/readyz", periodSeconds=5, timeoutSeconds=5, failureThreshold=3),
        "livenessProbe": _probe("/healthz", periodSeconds=20, timeoutSeconds=10, failureThreshold=6),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # Why it ended, for the pool's conditions.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **({"volumeMounts": mounts} if mounts else {}),
        **({"resources": resources} if resources else {}),
    }


def _probe(path: str, **timing: int) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": "metrics"}, **timing}


def _tls_volume(secret: str) -> dict[str, Any]:
    """As cert-manager lays it out. Without certificate and key no pod starts; without ``ca.crt`` clients need none."""
    needed = {"name": secret, "items": [{"key": key, "path": key} for key in ("tls.crt", "tls.key")]}
    wished = {"name": secret, "items": [{"key": "ca.crt", "path": "ca.crt"}], "optional": True}
    return {"name": _TLS_VOLUME, "projected": {"sources": [{"secret": needed}, {"secret": wished}]}}


def _spread(pool: Pool, topology_key: str) -> dict[str, Any]:
    """A wish, not a demand: on a cluster of one node a lookaside runs all the same."""
    return {
        "topologyKey": topology_key,
        "maxSkew": 1,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector_labels(pool)},
        # Else the pods of the version that a rollout replaces would push the new ones aside.
        "matchLabelKeys": ["pod-template-hash"],
    }

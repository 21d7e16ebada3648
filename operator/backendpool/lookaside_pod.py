"""The pod template of a pool's lookaside. Pure.

It meets the ``restricted`` Pod Security Standard, so that a pool works in any namespace.
"""

from __future__ import annotations

from typing import Any, Final

from backendpool.names import METRICS_PORT, POOL_LABEL, PORT_NAME, lookaside_name
from backendpool.pool import Pool
from backendpool.spec import LookasideSpec

NONROOT: Final = 65532
"""The user and group that distroless images call nonroot."""

GRACE_SECONDS: Final = 30
"""For streams to end and for clients to find another replica."""


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
        },
    }


def _container(pool: Pool, lookaside: LookasideSpec, image: str) -> dict[str, Any]:
    env = {
        "POOL_NAME": pool.name,
        "POOL_NAMESPACE": pool.namespace,
        "LOOKASIDE_PORT": str(lookaside.port),
        "METRICS_PORT": str(METRICS_PORT),
    }
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
        # The delay is about what the program takes to start: a first probe that fails would be a Warning.
        "readinessProbe": {"grpc": {"port": lookaside.port}, "initialDelaySeconds": 2, "periodSeconds": 2},
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": "metrics"}, "periodSeconds": 10},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        **({"resources": resources} if resources else {}),
    }


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

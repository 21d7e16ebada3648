"""Pools and backends for the demo and the e2e tests: manifests, and waiting for their state."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from tools.cluster import image
from tools.cluster.kubectl import PATIENCE, Kubectl, eventually

PORT = 50051
LABELS = {"run": "greetserver"}
LOOKASIDES = "app.kubernetes.io/name=backendpool-lookaside"
"""Label selector of lookaside pods."""


def pool(namespace: str, name: str = "greetserver", **spec: Any) -> dict[str, Any]:
    """A GrpcBackendPool over :func:`backends`."""
    return {
        "apiVersion": "backendpool.io/v1alpha1",
        "kind": "GrpcBackendPool",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": LABELS, "port": PORT, **spec},
    }


def backends(namespace: str, replicas: int = 3, name: str = "greetserver") -> dict[str, Any]:
    """A Deployment of greet servers like that of manifests/greet, with small requests."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": LABELS},
            "template": {"metadata": {"labels": LABELS}, "spec": _pod_spec()},
        },
    }


def _probe(period: int) -> dict[str, Any]:
    return {"grpc": {"port": PORT}, "periodSeconds": period, "timeoutSeconds": 3}


def _pod_spec() -> dict[str, Any]:
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 15,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "server",
                "image": image("greet"),
                "imagePullPolicy": "IfNotPresent",
                "args": ["server"],
                "env": [
                    # What is tested here is the list, not the drain: it need not take its time.
                    {"name": "DRAIN_SECONDS", "value": "1"},
                    {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                ],
                "ports": [{"name": "grpc", "containerPort": PORT}],
                "startupProbe": _probe(1) | {"failureThreshold": 60},
                "readinessProbe": _probe(5),
                "resources": {"requests": {"cpu": "10m", "memory": "48Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    }


def read(kubectl: Kubectl, namespace: str, name: str = "greetserver") -> dict[str, Any]:
    """Return the pool."""
    return kubectl.reader.pool(namespace, name)


def condition(obj: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return one of the pool's conditions, empty if it is missing."""
    conditions = obj.get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == kind), {})


def ready_addresses(obj: dict[str, Any]) -> set[str]:
    """Return the addresses that the status lists as Ready."""
    return {e["address"] for e in obj.get("status", {}).get("endpoints", []) if e["state"] == "Ready"}


def ready_pods(kubectl: Kubectl, namespace: str) -> set[str]:
    """Return the addresses of ready pods that are not terminating."""
    return set(ready_pods_by_name(kubectl, namespace).values())


def ready_pods_by_name(kubectl: Kubectl, namespace: str) -> dict[str, str]:
    """Return the same, by pod name."""
    return {
        pod["metadata"]["name"]: pod["status"]["podIP"]
        for pod in _pods(kubectl, namespace)
        if "deletionTimestamp" not in pod["metadata"]
        and any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
    }


def ready_at(kubectl: Kubectl, namespace: str) -> dict[str, float]:
    """Return the unix time at which each backend became ready, by pod name; Kubernetes truncates it to seconds."""
    return {
        pod["metadata"]["name"]: datetime.fromisoformat(condition["lastTransitionTime"]).timestamp()
        for pod in _pods(kubectl, namespace)
        for condition in pod["status"].get("conditions", ())
        if condition["type"] == "Ready" and condition["status"] == "True"
    }


def _pods(kubectl: Kubectl, namespace: str) -> list[dict[str, Any]]:
    """Return all backends, including terminating ones."""
    return kubectl.reader.pods(namespace, ",".join(f"{k}={v}" for k, v in LABELS.items()))


def wait_ready(kubectl: Kubectl, namespace: str, name: str = "greetserver", timeout: float = PATIENCE) -> None:
    """Wait for the condition Ready with ``kubectl wait``, as a user would."""
    which = (f"gbp/{name}", f"--namespace={namespace}", f"--timeout={timeout:g}s")
    kubectl("wait", "--for=condition=Ready", *which, timeout=timeout + 30)


def wait_for_count(kubectl: Kubectl, namespace: str, count: int, timeout: float = PATIENCE) -> None:
    """Wait until the status lists exactly the ready pods, ``count`` of them, and none is draining."""

    def settled() -> bool:
        there, obj = ready_pods(kubectl, namespace), read(kubectl, namespace)
        assert len(there) == count, f"{len(there)} pods are ready"
        assert ready_addresses(obj) == there, f"the status lists {ready_addresses(obj)}, ready are {there}"
        assert obj["status"]["total"] == count, f"the status counts {obj['status']['total']}"
        return True

    eventually(f"{count} ready endpoints in the status", settled, timeout=timeout)


def scale(kubectl: Kubectl, namespace: str, count: int, name: str = "greetserver") -> None:
    kubectl("scale", f"deployment/{name}", f"--replicas={count}", f"--namespace={namespace}")


def scale_and_restart(kubectl: Kubectl, namespace: str) -> None:
    """Scale from three to six and back, then restart: nine pods in all."""
    for count in (6, 3):
        scale(kubectl, namespace, count)
        wait_for_count(kubectl, namespace, count)
        time.sleep(3)  # calls for those that came last, who are the first to go
    kubectl("rollout", "restart", "deployment/greetserver", f"--namespace={namespace}")
    kubectl.rollout(namespace, "deployment/greetserver")
    wait_for_pods(kubectl, namespace, 3)


@contextmanager
def scaled(kubectl: Kubectl, namespace: str, count: int, back: int) -> Iterator[None]:
    """Run the body with ``count`` ready backends, then scale to ``back``.

    It waits for terminating pods to be gone, so that the next test does not see them.
    """
    scale(kubectl, namespace, count)
    try:
        wait_for_pods(kubectl, namespace, count)
        yield
    finally:
        scale(kubectl, namespace, back)
        wait_for_pods(kubectl, namespace, back)


def wait_for_pods(kubectl: Kubectl, namespace: str, count: int) -> None:
    """Wait until there are ``count`` backends, all ready, and none is terminating."""

    def settled() -> bool:
        there, ready = _pods(kubectl, namespace), ready_pods(kubectl, namespace)
        assert len(there) == len(ready) == count, f"{len(there)} pods are there, {len(ready)} of them ready"
        return True

    eventually(f"{count} pods in {namespace}", settled)

"""Workloads of the fault tests: the fault proxy, a lookaside and gateways.

The parameter ``pod`` of lookaside and gateway adds fields to the pod's spec, such as those of :func:`through_proxy`.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools import fault_proxy
from tools.cluster import image

Pod = Mapping[str, Any]
"""A part of a pod's spec."""

CONTROL = 8002
"""The port on which the proxy accepts rules."""

_PROXY = Path(fault_proxy.__file__).parent
_SOURCES = ("__init__.py", "rules.py", "proxy.py")
_PORT = 8001
_TOKEN = "/var/run/secrets/fault-proxy"
_KUBECONFIG = "/etc/fault-proxy"


def through_proxy(container: str) -> dict[str, Any]:
    """Return the fields of a pod's spec that connect ``container`` to the API server through the proxy.

    KUBECONFIG names a kubeconfig whose server is the proxy, with the token of the pod's own service account. The token
    is not mounted at the default path, where clients would find it and connect directly.
    """
    return {
        "automountServiceAccountToken": False,
        "containers": [
            {
                "name": container,
                "env": [{"name": "KUBECONFIG", "value": f"{_KUBECONFIG}/kubeconfig"}],
                "volumeMounts": [
                    {"name": "fault-proxy", "mountPath": _KUBECONFIG, "readOnly": True},
                    {"name": "fault-proxy-token", "mountPath": _TOKEN, "readOnly": True},
                ],
            }
        ],
        "volumes": [
            {"name": "fault-proxy", "configMap": {"name": "fault-proxy-kubeconfig"}},
            {
                "name": "fault-proxy-token",
                "projected": {"sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}]},
            },
        ],
    }


def kubeconfig(namespace: str, proxy_namespace: str) -> dict[str, Any]:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "faults",
        "contexts": [{"name": "faults", "context": {"cluster": "faults", "user": "faults"}}],
        "clusters": [{"name": "faults", "cluster": {"server": f"http://fault-proxy.{proxy_namespace}.svc:{_PORT}"}}],
        "users": [{"name": "faults", "user": {"tokenFile": f"{_TOKEN}/token"}}],
    }
    return config_map(namespace, "fault-proxy-kubeconfig", {"kubeconfig": json.dumps(document)})


def config_map(namespace: str, name: str, text: Mapping[str, str], binary: Mapping[str, bytes] = {}) -> dict[str, Any]:
    """Return a ConfigMap of ``text`` and ``binary`` files."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": text,
        "binaryData": {name: b64encode(content).decode() for name, content in binary.items()},
    }


def proxy(namespace: str) -> list[dict[str, Any]]:
    container = {
        "name": "proxy",
        "image": image("operator"),
        "command": ["python", "-m", "fault_proxy.proxy"],
        "args": ["https://kubernetes.default.svc", "--ca=/etc/ca/ca.crt"],
        "workingDir": "/srv",
        "readinessProbe": {"httpGet": {"path": "/script", "port": CONTROL}, "periodSeconds": 1},
        "volumeMounts": [
            {"name": "source", "mountPath": "/srv/fault_proxy", "readOnly": True},
            {"name": "ca", "mountPath": "/etc/ca", "readOnly": True},
        ],
    }
    volumes = [
        {"name": "source", "configMap": {"name": "fault-proxy-source"}},
        {"name": "ca", "configMap": {"name": "kube-root-ca.crt"}},
    ]
    return [
        config_map(namespace, "fault-proxy-source", {name: (_PROXY / name).read_text() for name in _SOURCES}),
        _deployment(namespace, "fault-proxy", container, {"automountServiceAccountToken": False, "volumes": volumes}),
        _service(namespace, "fault-proxy", _PORT, CONTROL),
    ]


def gateway(namespace: str, pod: Pod | None = None) -> list[dict[str, Any]]:
    """Return a gateway in pool mode."""
    pod = {"serviceAccountName": "greet-gateway", **(pod or {})}
    return [_account(namespace, "greet-gateway"), *_gateway(namespace, "greet-gateway", {"GATEWAY_MODE": "pool"}, pod)]


def lookaside_gateway(namespace: str, lookaside: str) -> list[dict[str, Any]]:
    """Return a gateway in lookaside mode that calls the Service ``lookaside``."""
    env = {"GATEWAY_MODE": "lookaside", "LB_SVC_NAME": lookaside}
    return _gateway(namespace, "asking-gateway", env, {"automountServiceAccountToken": False})


def _gateway(namespace: str, name: str, env: dict[str, str], pod: Pod) -> list[dict[str, Any]]:
    container = {
        "name": "gateway",
        "image": image("greet"),
        "args": ["gateway"],
        "env": _env(env | {"POD_NAMESPACE": namespace, "GRPC_SVC": "greetserver"}),
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 9091}, "periodSeconds": 1, "timeoutSeconds": 3},
    }
    return [_deployment(namespace, name, container, pod), _service(namespace, name, 9091)]


def lookaside(namespace: str, pod: Pod) -> list[dict[str, Any]]:
    """Return a lookaside that the operator does not own, because the operator would revert a patched one."""
    container = {
        "name": "lookaside",
        "image": image("operator"),
        "args": ["lookaside"],
        "env": _env({"POOL_NAME": "greetserver", "POOL_NAMESPACE": namespace}),
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 9090}, "periodSeconds": 1},
    }
    rules = [
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
        {"apiGroups": ["backendpool.io"], "resources": ["grpcbackendpools"], "verbs": ["list", "watch"]},
    ]
    rbac, meta = "rbac.authorization.k8s.io", {"name": "lookaside", "namespace": namespace}
    return [
        _account(namespace, "lookaside"),
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "lookaside"},
            "subjects": [{"kind": "ServiceAccount", "name": "lookaside", "namespace": namespace}],
        },
        _deployment(namespace, "lookaside", container, {"serviceAccountName": "lookaside", **pod}),
        _service(namespace, "lookaside", 50055),
    ]


def _account(namespace: str, name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}


def _service(namespace: str, name: str, *ports: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": name}, "ports": [{"name": f"p{port}", "port": port} for port in ports]},
    }


def _env(variables: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in variables.items()]


def _deployment(namespace: str, name: str, container: dict[str, Any], pod: Pod) -> dict[str, Any]:
    labels = {"app": name}
    hardened = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    # If ``pod`` has a container, append its lists to those of ours.
    for more in pod.get("containers", ()):
        container = container | {k: [*container.get(k, ()), *v] for k, v in more.items() if k != "name"}
    spec = {
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **pod,
        "containers": [{"imagePullPolicy": "IfNotPresent", "securityContext": hardened, **container}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }

"""What runs in the cluster for the tests of faults: the proxy, and programs that see the API server by it.

They are told by KUBECONFIG, whose server is the proxy and whose token is that of their own service account; it is
mounted where no client looks for it unasked.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CONTROL = 8002
"""The port by which the proxy is scripted."""

_HERE = Path(__file__).parent
_SOURCES = ("__init__.py", "rules.py", "proxy.py")
_PORT = 8001
_TOKEN = "/var/run/secrets/fault-proxy"
_KUBECONFIG = "/etc/fault-proxy"


def behind(container: str) -> dict[str, Any]:
    """What a pod's spec needs for this container to see the API server by the proxy."""
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
    return _config_map(namespace, "fault-proxy-kubeconfig", {"kubeconfig": json.dumps(document)})


def _config_map(namespace: str, name: str, data: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    }


def proxy(namespace: str) -> list[dict[str, Any]]:
    container = {
        "name": "proxy",
        "image": "backendpool/operator:dev",
        "command": ["python", "-m", "faults.proxy"],
        "args": ["https://kubernetes.default.svc", "--ca=/etc/ca/ca.crt"],
        "workingDir": "/srv",
        "readinessProbe": {"httpGet": {"path": "/script", "port": CONTROL}, "periodSeconds": 1},
        "volumeMounts": [
            {"name": "source", "mountPath": "/srv/faults", "readOnly": True},
            {"name": "ca", "mountPath": "/etc/ca", "readOnly": True},
        ],
    }
    volumes = [
        {"name": "source", "configMap": {"name": "fault-proxy-source"}},
        {"name": "ca", "configMap": {"name": "kube-root-ca.crt"}},
    ]
    return [
        _config_map(namespace, "fault-proxy-source", {name: (_HERE / name).read_text() for name in _SOURCES}),
        _deployment(namespace, "fault-proxy", container, automountServiceAccountToken=False, volumes=volumes),
        _service(namespace, "fault-proxy", _PORT, CONTROL),
    ]


def gateway(namespace: str, *, proxied: bool = False) -> list[dict[str, Any]]:
    """A gateway in pool mode, by the proxy or by itself."""
    pod = behind("gateway") if proxied else {"containers": [{"name": "gateway", "env": []}]}
    env = {"GATEWAY_MODE": "pool", "POD_NAMESPACE": namespace, "GRPC_SVC": "greetserver"}
    container = {
        "image": "backendpool/greet:dev",
        "args": ["gateway"],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 9091}, "periodSeconds": 1, "timeoutSeconds": 3},
        **pod.pop("containers")[0],
    }
    container["env"] += [{"name": name, "value": value} for name, value in env.items()]
    return [
        _account(namespace, "greet-gateway"),
        _deployment(namespace, "greet-gateway", container, serviceAccountName="greet-gateway", **pod),
        _service(namespace, "greet-gateway", 9091),
    ]


def lookaside(namespace: str) -> list[dict[str, Any]]:
    """One of our own, since the operator would put right one of its own that was patched."""
    pod = behind("lookaside")
    container = {
        "image": "backendpool/operator:dev",
        "args": ["lookaside"],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 9090}, "periodSeconds": 1},
        **pod.pop("containers")[0],
    }
    container["env"] += [
        {"name": "POOL_NAME", "value": "greetserver"},
        {"name": "POOL_NAMESPACE", "value": namespace},
    ]
    rule = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}
    rbac, meta = "rbac.authorization.k8s.io", {"name": "lookaside", "namespace": namespace}
    return [
        _account(namespace, "lookaside"),
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": [rule]},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "lookaside"},
            "subjects": [{"kind": "ServiceAccount", "name": "lookaside", "namespace": namespace}],
        },
        _deployment(namespace, "lookaside", container, serviceAccountName="lookaside", **pod),
        _service(namespace, "lookaside", 9090),
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


def _deployment(namespace: str, name: str, container: dict[str, Any], **pod: Any) -> dict[str, Any]:
    labels = {"app": name}
    hardened = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
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
        "containers": [{"imagePullPolicy": "IfNotPresent", "securityContext": hardened, **container}],
        **pod,
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

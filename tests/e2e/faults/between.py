"""The fault proxy between the programs and the API server, and programs that all talk to it.

The programs are told by KUBECONFIG, whose server is the proxy and whose token is that of their own service account;
it is mounted where no client looks for it unasked. The operator is the deployed one, patched for a while.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from .. import deploy, pools
from ..kubectl import Kubectl
from .rules import Rule

_HERE = Path(__file__).parent
_SOURCES = ("__init__.py", "rules.py", "proxy.py")
_PORT, _CONTROL = 8001, 8002
_TOKEN = "/var/run/secrets/fault-proxy"
_KUBECONFIG = "/etc/fault-proxy"
_MANAGER = "faults"


@dataclass(frozen=True, slots=True)
class FaultProxy:
    """The proxy that runs in ``namespace``."""

    kubectl: Kubectl
    namespace: str

    @contextmanager
    def breaking(self, *rules: Rule, cut: bool = True) -> Iterator[None]:
        """The rules are in force during the body; ``cut``: what is open at its start is reset.

        Fails where a rule was never used: a fault that did not take place proves nothing.
        """
        self._script(rules)
        if cut:
            self._post("cut")
        try:
            yield
        finally:
            used = self._used()
            self._script(())
        assert all(used), f"not every rule was used: {dict(zip(rules, used, strict=True))}"

    def _script(self, rules: Sequence[Rule]) -> None:
        self._post("script", [rule.as_json() for rule in rules])

    def _used(self) -> list[int]:
        return list(json.loads(self.kubectl("get", f"--raw={self._url('script')}").stdout)["used"])

    def _post(self, what: str, body: object = None) -> None:
        self.kubectl("create", f"--raw={self._url(what)}", "--filename=-", input=json.dumps(body))

    def _url(self, what: str) -> str:
        return f"/api/v1/namespaces/{self.namespace}/services/fault-proxy:{_CONTROL}/proxy/{what}"


@contextmanager
def own_namespace(kubectl: Kubectl, name: str) -> Iterator[str]:
    """A namespace for as long as the body lasts, held to the restricted Pod Security Standard."""
    namespace = f"e2e-{name}-{uuid4().hex[:6]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}})
    try:
        yield namespace
    finally:
        kubectl("delete", "namespace", namespace, "--wait=false")


def install(kubectl: Kubectl, namespace: str) -> FaultProxy:
    """The proxy, running; and a pool with three servers, a lookaside and a gateway that see the API server by it."""
    kubectl.apply(*_proxy(namespace))
    kubectl.rollout(namespace, "deployment/fault-proxy")
    kubectl.apply(
        pools.backends(namespace),
        pools.pool(namespace, lookaside={"replicas": 0}, readers=[{"serviceAccount": "greet-gateway"}]),
        _kubeconfig(namespace, namespace),
        *gateway(namespace, proxied=True),
        *_lookaside(namespace),
    )
    pools.wait_ready(kubectl, namespace)
    kubectl.rollout(namespace, "deployment/greet-gateway", "deployment/lookaside", "deployment/greetserver")
    return FaultProxy(kubectl, namespace)


@contextmanager
def operator_behind(kubectl: Kubectl, proxy: FaultProxy) -> Iterator[None]:
    """The deployed operator talks to the proxy during the body, and to the API server again after it."""
    kubectl.apply(_kubeconfig(deploy.OPERATOR_NAMESPACE, proxy.namespace))
    try:
        _apply_to_operator(kubectl, _behind("operator"))
        kubectl.rollout(deploy.OPERATOR_NAMESPACE, "deployment/backendpool-operator")
        yield
    finally:
        # Whoever applied fields and applies them no more, gives them up: only ours go.
        _apply_to_operator(kubectl, {})
        kubectl.rollout(deploy.OPERATOR_NAMESPACE, "deployment/backendpool-operator")
        kubectl("delete", "configmap", "fault-proxy-kubeconfig", f"--namespace={deploy.OPERATOR_NAMESPACE}")


def _apply_to_operator(kubectl: Kubectl, pod: dict[str, Any]) -> None:
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "backendpool-operator", "namespace": deploy.OPERATOR_NAMESPACE},
        "spec": {"template": {"spec": pod}} if pod else {},
    }
    kubectl("apply", "--server-side", f"--field-manager={_MANAGER}", "--filename=-", input=json.dumps(deployment))


def _behind(container: str) -> dict[str, Any]:
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


def _kubeconfig(namespace: str, proxy_namespace: str) -> dict[str, Any]:
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


def _proxy(namespace: str) -> list[dict[str, Any]]:
    container = {
        "name": "proxy",
        "image": "backendpool/operator:dev",
        "command": ["python", "-m", "faults.proxy"],
        "args": ["https://kubernetes.default.svc", "--ca=/etc/ca/ca.crt"],
        "workingDir": "/srv",
        "readinessProbe": {"httpGet": {"path": "/script", "port": _CONTROL}, "periodSeconds": 1},
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
        _service(namespace, "fault-proxy", _PORT, _CONTROL),
    ]


def gateway(namespace: str, *, proxied: bool = False) -> list[dict[str, Any]]:
    """A gateway in pool mode, by the proxy or by itself."""
    pod = _behind("gateway") if proxied else {"containers": [{"name": "gateway", "env": []}]}
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


def _lookaside(namespace: str) -> list[dict[str, Any]]:
    """One of our own, since the operator would put right one of its own that was patched."""
    behind = _behind("lookaside")
    container = {
        "image": "backendpool/operator:dev",
        "args": ["lookaside"],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 9090}, "periodSeconds": 1},
        **behind.pop("containers")[0],
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
        _deployment(namespace, "lookaside", container, serviceAccountName="lookaside", **behind),
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

"""The fault proxy between the programs and the API server; the operator is the deployed one, patched for a while."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from .. import deploy, pools
from ..kubectl import Kubectl, eventually
from . import programs
from .rules import Rule

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
            eventually("every rule was used", lambda: self._all_used(rules), timeout=20)
        finally:
            self._script(())

    def _all_used(self, rules: Sequence[Rule]) -> bool:
        used = self._used()
        assert all(used), f"{dict(zip(rules, used, strict=True))}"
        return True

    def _script(self, rules: Sequence[Rule]) -> None:
        self._post("script", [rule.as_json() for rule in rules])

    def _used(self) -> list[int]:
        return list(json.loads(self.kubectl("get", f"--raw={self._url('script')}").stdout)["used"])

    def _post(self, what: str, body: object = None) -> None:
        self.kubectl("create", f"--raw={self._url(what)}", "--filename=-", input=json.dumps(body))

    def _url(self, what: str) -> str:
        return f"/api/v1/namespaces/{self.namespace}/services/fault-proxy:{programs.CONTROL}/proxy/{what}"


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


@contextmanager
def all_behind(kubectl: Kubectl, namespace: str) -> Iterator[FaultProxy]:
    """The proxy, and all that sees the API server by it: a pool's gateway and lookaside, and the deployed operator.

    The operator talks to the API server itself again at the end.
    """
    try:
        # All at once: whoever is up before the proxy tries on.
        kubectl.apply(
            *programs.proxy(namespace),
            pools.backends(namespace),
            pools.pool(namespace, lookaside={"replicas": 0}, readers=[{"serviceAccount": "greet-gateway"}]),
            programs.kubeconfig(namespace, namespace),
            programs.kubeconfig(deploy.OPERATOR_NAMESPACE, namespace),
            *programs.gateway(namespace, proxied=True),
            *programs.lookaside(namespace),
        )
        _apply_to_operator(kubectl, programs.behind("operator"))
        ours = ("fault-proxy", "greet-gateway", "lookaside", "greetserver")
        kubectl.rollout(namespace, *(f"deployment/{name}" for name in ours))
        kubectl.rollout(deploy.OPERATOR_NAMESPACE, "deployment/backendpool-operator")
        pools.wait_ready(kubectl, namespace)
        yield FaultProxy(kubectl, namespace)
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

"""The fault proxy (tools/fault_proxy) in front of the API server."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.e2e.support.faults import workloads
from tests.e2e.support.faults.operator_patch import patched_operator
from tools.cluster import deploy
from tools.cluster.kubectl import Kubectl, eventually
from tools.demo import pools
from tools.fault_proxy.rules import Rule


@dataclass(frozen=True, slots=True)
class FaultProxy:
    """The proxy that runs in ``namespace``."""

    kubectl: Kubectl
    namespace: str

    @contextmanager
    def breaking(self, *rules: Rule, cut: bool = True) -> Iterator[Callable[[], bool]]:
        """The rules are in force during the body; ``cut``: what is open at its start is reset.

        Fails unless each process has met each rule that is for it: a fault that did not take place proves nothing.
        What is yielded tells whether that is so.
        """
        processes = self._processes()

        def all_met() -> bool:
            missing = [
                f"{rule} by {process}"
                for rule, used in zip(rules, self._used(), strict=True)
                for process in _missing(rule, processes, used)
            ]
            assert not missing, "\n".join(["not met:", *missing])
            return True

        self._script(rules)
        if cut:
            self._post("cut")
        try:
            yield all_met
            eventually("every process has met every rule", all_met, timeout=60)
        finally:
            self._script(())

    def _processes(self) -> list[str]:
        """All that see the API server by the proxy, each as its User-Agent has it: program and pod."""
        here, there = f"--namespace={self.namespace}", f"--namespace={deploy.OPERATOR_NAMESPACE}"
        pods = {
            "operator": (there, "--selector=app.kubernetes.io/component=operator"),
            "lookaside": (here, "--selector=app=lookaside"),
            "client": (here, "--selector=app=greet-gateway"),
        }
        return [
            f"{program} ({pod['metadata']['name']}"
            for program, which in pods.items()
            for pod in self.kubectl.json("get", "pods", *which)["items"]
            if "deletionTimestamp" not in pod["metadata"]
        ]

    def _script(self, rules: Sequence[Rule]) -> None:
        self._post("script", [rule.as_json() for rule in rules])

    def _used(self) -> list[dict[str, int]]:
        return list(json.loads(self.kubectl("get", f"--raw={self._url('script')}").stdout)["used"])

    def _post(self, what: str, body: object = None) -> None:
        self.kubectl("create", f"--raw={self._url(what)}", "--filename=-", input=json.dumps(body))

    def _url(self, what: str) -> str:
        return f"/api/v1/namespaces/{self.namespace}/services/fault-proxy:{workloads.CONTROL}/proxy/{what}"


def _missing(rule: Rule, processes: Sequence[str], agents: Iterable[str]) -> list[str]:
    """The processes that have not met a rule for them; of those that write it is one, the leader."""
    concerned = [process for process in processes if re.search(rule.agent, process)]
    missing = [process for process in concerned if not any(process in agent for agent in agents)]
    return missing if not rule.method or len(missing) == len(concerned) else []


@contextmanager
def all_through_proxy(kubectl: Kubectl, namespace: str) -> Iterator[FaultProxy]:
    """The proxy, and all that sees the API server by it: a pool's gateway and lookaside, and the deployed operator.

    A second gateway asks that lookaside.

    The operator talks to the API server itself again at the end.
    """
    # All at once: whoever is up before the proxy tries on.
    kubectl.apply(
        *workloads.proxy(namespace),
        pools.backends(namespace),
        pools.pool(namespace, lookaside={"replicas": 0}, readers=[{"serviceAccount": "greet-gateway"}]),
        workloads.kubeconfig(namespace, namespace),
        *workloads.gateway(namespace, workloads.through_proxy("gateway")),
        *workloads.lookaside(namespace, workloads.through_proxy("lookaside")),
        *workloads.lookaside_gateway(namespace, "lookaside"),
    )
    config = workloads.kubeconfig(deploy.OPERATOR_NAMESPACE, namespace)
    with patched_operator(kubectl, workloads.through_proxy("operator"), config):
        ours = ("fault-proxy", "greet-gateway", "lookaside", "asking-gateway", "greetserver")
        kubectl.rollout(namespace, *(f"deployment/{name}" for name in ours))
        pools.wait_ready(kubectl, namespace)
        yield FaultProxy(kubectl, namespace)

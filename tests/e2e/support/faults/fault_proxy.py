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
    """The fault proxy in ``namespace``."""

    kubectl: Kubectl
    namespace: str

    @contextmanager
    def breaking(self, *rules: Rule, cut: bool = True) -> Iterator[Callable[[], bool]]:
        """Apply the rules within the context; with ``cut``, reset the open connections first.

        At the end, wait until each rule was applied to each matching process, since a fault that did not happen proves
        nothing. Yield a function that checks this earlier.
        """
        processes = self._processes()

        def all_met() -> bool:
            missing = [
                f"{rule} by {process}"
                for rule, used in zip(rules, self._used(), strict=True)
                for process in _missing(rule, processes, used)
            ]
            assert not missing, "\n".join(["rules that were not applied:", *missing])
            return True

        self._script(rules)
        if cut:
            self._post("cut")
        try:
            yield all_met
            eventually("every rule applied to every process", all_met, timeout=60)
        finally:
            self._script(())

    def _processes(self) -> list[str]:
        """Return the start of the User-Agent, program and pod, of each process that uses the proxy."""
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
    """Return the processes that a rule missed. A rule for writes needs only one, since only the leader writes."""
    concerned = [process for process in processes if re.search(rule.agent, process)]
    missing = [process for process in concerned if not any(process in agent for agent in agents)]
    return missing if not rule.method or len(missing) == len(concerned) else []


@contextmanager
def all_through_proxy(kubectl: Kubectl, namespace: str) -> Iterator[FaultProxy]:
    """Deploy the proxy, and a gateway and a lookaside that use it, and let the deployed operator use it.

    A second gateway, in lookaside mode, calls that lookaside. At the end, the operator connects directly again.
    """
    # The order does not matter: programs that start before the proxy retry.
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

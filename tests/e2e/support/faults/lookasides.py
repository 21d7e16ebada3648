"""State and answers of each lookaside replica of a pool, queried by pod, since a Service would show only one."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tools.cluster.kubectl import Kubectl

_REVISION = re.compile(r'^backendpool_endpoints_revision_info\{revision="(\w+)"\}', re.MULTILINE)
_READY = re.compile(r'^backendpool_endpoints\{state="Ready"\} (\d+)', re.MULTILINE)
_RESOLVES = re.compile(r'^backendpool_lookaside_resolves_total\{code="(\w+)"\} (\d+)', re.MULTILINE)

_ASK = """
import json, sys
import grpc
from backendpool.proto.lookaside.lookaside_pb2 import Request
from backendpool.proto.lookaside.lookaside_pb2_grpc import LookasideStub
namespace, *hosts = sys.argv[1:]
request = Request(router=Request.ROUNDROBIN, service="greetserver", namespace=namespace)
answers = {}
for host in hosts:
    with grpc.insecure_channel(f"{host}:50055") as channel:
        resolve = LookasideStub(channel).Resolve
        answers[host] = sorted({resolve(request, timeout=30).address for _ in range(100)})
print(json.dumps(answers))
"""
"""Sends many Resolves to each lookaside, since other clients advance the same rotation in between."""


@dataclass(frozen=True, slots=True)
class Lookaside:
    """State of a replica, from its metrics. ``answered`` and ``refused`` count successful and failed Resolves."""

    address: str
    node: str
    ready: int
    revision: str
    answered: int
    refused: int


@dataclass(frozen=True, slots=True)
class Lookasides:
    """The lookaside pods of ``namespace`` that match the label ``selector``."""

    kubectl: Kubectl
    namespace: str
    selector: str

    def read(self, lost: str = "") -> dict[str, Lookaside]:
        """Return each replica by pod name, except those on the ``lost`` node; fail if one has not synced."""
        pods = [pod for pod in self._pods() if not lost or pod["spec"]["nodeName"] != lost]
        assert pods, "no lookaside pods"
        return {pod["metadata"]["name"]: self._read(pod) for pod in pods}

    def resolved(self, hosts: Iterable[str]) -> dict[str, set[str]]:
        """Return the addresses that each lookaside returns to Resolves from the gateway's pod."""
        command = ("exec", "deployment/asking-gateway", f"--namespace={self.namespace}", "--", "python", "-c", _ASK)
        answers = json.loads(self.kubectl(*command, self.namespace, *hosts).stdout)
        return {host: set(addresses) for host, addresses in answers.items()}

    def _pods(self) -> list[dict[str, Any]]:
        here = (f"--namespace={self.namespace}", f"--selector={self.selector}")
        pods = self.kubectl.json("get", "pods", *here)["items"]
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def _read(self, pod: dict[str, Any]) -> Lookaside:
        name = pod["metadata"]["name"]
        url = f"/api/v1/namespaces/{self.namespace}/pods/{name}:9090/proxy/metrics"
        text = self.kubectl("get", f"--raw={url}").stdout
        ready, revision = _READY.search(text), _REVISION.search(text)
        assert ready, f"no ready endpoints in the metrics of {name}: {text[:200]}"
        assert revision, f"no revision in the metrics of {name}: {text[:200]}"
        resolves = Counter({code: int(count) for code, count in _RESOLVES.findall(text)})
        answered = resolves["OK"]
        where = (pod["status"]["podIP"], pod["spec"]["nodeName"])
        return Lookaside(*where, int(ready[1]), revision[1], answered, resolves.total() - answered)

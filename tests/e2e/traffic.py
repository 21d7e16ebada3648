"""Load on a gateway, sent by a pod beside it: no route from this host to pods is needed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from .kubectl import Kubectl, eventually

GATEWAY = "http://greet-gateway:9091/greet"


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of a load: calls answered in all and by each pod, failures by what was said."""

    ok: int
    failed: int
    pods: dict[str, int]
    errors: dict[str, int]
    first_answer: dict[str, float] = field(default_factory=dict)
    """Unix time of each pod's first answer."""
    latency_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Interval:
    """What came of the calls of one interval, which ended at ``time`` (unix)."""

    time: float
    pods: dict[str, int]
    errors: dict[str, int]


@dataclass(frozen=True, slots=True)
class Load:
    """A load under way, or over."""

    _kubectl: Kubectl
    _namespace: str
    _name: str

    def summary(self, timeout: float = 180) -> Summary:
        """What came of all calls, when they are over.

        The pod's log is read at the end and not followed: a stream would break with the API server.
        """
        eventually("the load is over", self._is_over, timeout=timeout, every=1)
        text = self._kubectl("logs", self._name, f"--namespace={self._namespace}").stdout
        last = text.rstrip().rpartition("\n")[2]
        assert last.startswith('{"summary"'), f"the load generator failed:\n{text}"
        return Summary(**json.loads(last)["summary"])

    def intervals(self, since: float) -> list[Interval]:
        """What came of the calls since a unix time, an interval after the other."""
        text = self._kubectl("logs", self._name, f"--namespace={self._namespace}").stdout
        lines = [json.loads(line) for line in text.splitlines() if line.startswith('{"time"')]
        return [Interval(**line) for line in lines if line["time"] >= since]

    def phase(self) -> str:
        pod = self._kubectl.json("get", "pod", self._name, f"--namespace={self._namespace}")
        return str(pod["status"].get("phase"))

    def _is_over(self) -> bool:
        return self.phase() in ("Succeeded", "Failed")


@contextmanager
def load(kubectl: Kubectl, namespace: str, *, url: str = GATEWAY, **settings: float) -> Iterator[Load]:
    """Start ``greet load`` with ``settings`` as its flags (rate, calls, seconds, timeout, interval)."""
    name = f"load-{uuid4().hex[:6]}"
    flags = [f"--{key}={value}" for key, value in settings.items()]
    kubectl.apply(_pod(namespace, name, ["load", f"--url={url}", *flags]))
    running = Load(kubectl, namespace, name)
    try:
        eventually("the load generator runs", lambda: running.phase() not in ("Pending", "None"))
        yield running
    finally:
        kubectl("delete", "pod", name, f"--namespace={namespace}", "--wait=false", "--grace-period=1")


def calls(kubectl: Kubectl, namespace: str, count: int, *, url: str = GATEWAY) -> Summary:
    """``count`` calls, one after another."""
    with load(kubectl, namespace, url=url, calls=count) as running:
        return running.summary()


def _pod(namespace: str, name: str, args: list[str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": "load"}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "load",
                    "image": "backendpool/greet:dev",
                    "imagePullPolicy": "IfNotPresent",
                    "args": args,
                    "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }

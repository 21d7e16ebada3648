"""Load on a gateway, sent by a pod beside it: no route from this host to pods is needed."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from greet.callers import BODY
from greet.load import POD
from tools.cluster import image
from tools.cluster.kubectl import Kubectl, eventually

GATEWAY = "http://greet-gateway:9091/greet"
_ATTEMPTS = re.compile(r'^backendpool_client_(picks|failures)_total{pool="\S+"} (\S+)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of a load: answered calls in total and by pod, failed calls by error."""

    ok: int
    failed: int
    pods: dict[str, int]
    errors: dict[str, int]
    first_answer: dict[str, float] = field(default_factory=dict)
    """Unix time of each pod's first answer."""
    latency_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Interval:
    """The result of an interval that ended at unix time ``time``; ``waiting`` calls were in flight during all of it."""

    time: float
    pods: Counter[str]
    errors: Counter[str]
    waiting: int


@dataclass(frozen=True, slots=True)
class Load:
    """A load, running or finished."""

    _kubectl: Kubectl
    _namespace: str
    _name: str
    _ending: Sequence[str]
    """The command that stops it, run in its pod."""

    def summary(self, timeout: float = 600) -> Summary:
        """Wait for the end of the load and return its result.

        The pod's log is read at the end and not followed, since a stream would break with the API server.
        """
        eventually("the load has finished", self._is_over, timeout=timeout)
        text = self._kubectl("logs", self._name, f"--namespace={self._namespace}").stdout
        last = text.rstrip().rpartition("\n")[2]
        assert last.startswith('{"summary"'), f"the load generator failed:\n{text}"
        return Summary(**json.loads(last)["summary"])

    def stop(self) -> Summary:
        """Stop the load once the calls in flight are finished."""
        here = f"--namespace={self._namespace}"
        self._kubectl("exec", self._name, here, "--", *self._ending)
        return self.summary()

    def errors(self, since: float, until: float = math.inf, of: str = "") -> str:
        """Return the failures between two unix times whose message contains ``of``, with their times."""
        intervals = [i for i in self.intervals(since) if i.time <= until]
        failed = [(i.time - since, {what: n for what, n in i.errors.items() if of in what}) for i in intervals]
        return "\n".join(f"{seconds:.1f} s: {errors}" for seconds, errors in failed if errors)

    def intervals(self, since: float) -> list[Interval]:
        """Yield the results of the intervals since a unix time."""
        # A load that lasts for long has a long log; its times are cut to seconds.
        begin = datetime.fromtimestamp(since - 1, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        text = self._kubectl("logs", self._name, f"--namespace={self._namespace}", f"--since-time={begin}").stdout
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{") and '"time":' in line]
        return [
            Interval(line["time"], Counter(line["pods"]), Counter(line["errors"]), line["waiting"])
            for line in lines
            if line["time"] >= since
        ]

    def called(self) -> set[str]:
        """Return the pods that have answered calls so far."""
        return {pod for one in self.intervals(0) for pod in one.pods}

    def phase(self) -> str:
        return str(self._kubectl.reader.pod(self._namespace, self._name)["status"].get("phase"))

    def _is_over(self) -> bool:
        return self.phase() in ("Succeeded", "Failed")


@contextmanager
def load(
    kubectl: Kubectl, namespace: str, *, url: str = GATEWAY, reader: bool = False, **settings: float
) -> Iterator[Load]:
    """Start ``greet load`` with ``settings`` as its flags (rate, calls, seconds, timeout, interval).

    As a ``reader`` it has the token of the namespace's default service account.

    Without ``calls`` or ``seconds`` it runs until :meth:`Load.stop` or the end of the context.
    """
    generator = pod(namespace, ["load", f"--url={url}", *flags({"wait": 120, **settings})])
    generator["spec"]["automountServiceAccountToken"] = reader
    with run_generator(kubectl, generator) as running:
        yield running


def flags(settings: Mapping[str, float | str]) -> list[str]:
    """Return the flags of a load generator."""
    return [f"--{key}={value}" for key, value in settings.items()]


@contextmanager
def run_generator(
    kubectl: Kubectl, generator: dict[str, Any], ending: Sequence[str] = ("sh", "-c", "kill -TERM 1")
) -> Iterator[Load]:
    """Run a load generator, given as a :func:`pod` whose program prints what ``greet load`` prints.

    ``ending`` is the command that ends it, in its pod.
    """
    namespace, name = generator["metadata"]["namespace"], generator["metadata"]["name"]
    kubectl.apply(generator)
    running = Load(kubectl, namespace, name, ending)
    try:
        eventually("the load generator runs", lambda: running.phase() not in ("Pending", "None"))
        yield running
    finally:
        kubectl("delete", "pod", name, f"--namespace={namespace}", "--wait=false", "--grace-period=1")


def calls(kubectl: Kubectl, namespace: str, count: int, *, url: str = GATEWAY) -> Summary:
    """Send ``count`` calls one after another through the API server, which needs no pod."""
    service, path = url.removeprefix("http://").split("/", 1)
    pods: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    for _ in range(count):
        status, text = kubectl.reader.post(namespace, service, f"/{path}", BODY)
        named = POD.search(text)
        if status == 200 and named is not None:
            pods[named[1]] += 1
        else:
            errors[f"{status} {text[:300]}"] += 1
    return Summary(pods.total(), errors.total(), dict(pods), dict(errors))


def answering(kubectl: Kubectl, namespace: str, *, url: str = GATEWAY) -> int:
    """Return the number of pods that answer a few calls; 0 if a call fails."""
    summary = calls(kubectl, namespace, 12, url=url)
    return 0 if summary.failed else len(summary.pods)


def attempts(kubectl: Kubectl, namespace: str) -> Counter[str]:
    """Return the attempts that the gateways of ``namespace`` have sent so far, and those that failed."""
    counts: Counter[str] = Counter()
    for pod in kubectl.json("get", "pods", f"--namespace={namespace}", "--selector=run=greet-gateway")["items"]:
        path = f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}:9091/proxy/metrics"
        for kind, value in _ATTEMPTS.findall(kubectl("get", "--raw", path).stdout):
            counts[kind] += round(float(value))
    return counts


def pod(namespace: str, args: list[str]) -> dict[str, Any]:
    """Return a pod that runs the greet image once, under the restricted Pod Security Standard."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"load-{uuid4().hex[:6]}", "namespace": namespace, "labels": {"app": "load"}},
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
                    "image": image("greet"),
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

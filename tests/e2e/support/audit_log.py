"""The API server's audit log, read on the control plane node: which operator wrote what, and when."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import pytest

from tools.cluster import Cluster
from tools.cluster.deploy import OPERATOR_NAMESPACE

OPERATOR = f"system:serviceaccount:{OPERATOR_NAMESPACE}:backendpool-operator"
LOGS = "/var/log/kubernetes/audit*.log"
"""The one that is written, and those that it was when it had grown too long."""
_INSTANCE = re.compile(r"backendpool/\S+ operator \(([^)]+)\)")


@dataclass(frozen=True, slots=True)
class Write:
    """One write by an operator: when the API server got it and answered, by which instance, and what of.

    Times are seconds since the epoch, by the clock that all nodes share.
    """

    received: float
    answered: float
    instance: str
    verb: str
    resource: str
    namespace: str
    name: str
    code: int


def operator_writes(cluster: Cluster, since: float = 0.0) -> list[Write]:
    """All writes of the operators that share a Lease, but those to it, in the order of their arrival."""
    return [write for write in _all(cluster, since) if write.resource != "leases"]


def lease_writes(cluster: Cluster, since: float = 0.0) -> list[Write]:
    """Those to the Lease that were done, likewise."""
    return [write for write in _all(cluster, since) if write.resource == "leases" and write.code < 300]


def _all(cluster: Cluster, since: float) -> list[Write]:
    if not cluster.can_inject_faults:
        pytest.skip("reads the API server's audit log on its node, which is done on a cluster of our own only")
    control_plane = next(node.name for node in cluster.nodes if not node.is_worker)
    # Whoever wrote nothing is not found, which grep calls a failure.
    find = f'grep --no-filename --fixed-strings \'"userAgent":"backendpool/\' {LOGS} || true'
    text = cluster.docker("exec", control_plane, "sh", "-c", find)
    return sorted((w for w in _writes(text) if w.received >= since), key=lambda write: write.received)


def _writes(text: str) -> Iterator[Write]:
    for line in text.splitlines():
        entry = json.loads(line)
        instance, what = _INSTANCE.match(entry["userAgent"]), entry.get("objectRef", {})
        if instance and entry["user"]["username"] == OPERATOR:
            yield Write(
                received=_seconds(entry["requestReceivedTimestamp"]),
                answered=_seconds(entry["stageTimestamp"]),
                instance=instance[1],
                verb=entry["verb"],
                resource=what.get("resource", ""),
                namespace=what.get("namespace", ""),
                name=what.get("name", ""),
                code=entry.get("responseStatus", {}).get("code", 0),
            )


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()

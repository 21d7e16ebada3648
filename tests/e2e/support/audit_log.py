"""Writes of the operators, from the API server's audit log on the control plane node."""

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
"""The current log and the rotated ones."""
_INSTANCE = re.compile(r"backendpool/\S+ operator \(([^)]+)\)")


@dataclass(frozen=True, slots=True)
class Write:
    """A write request of an operator. ``instance`` is the operator process that sent it.

    ``received`` and ``answered`` are Unix times; all nodes share one clock.
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
    """Return all writes of the operators except those to the Lease, in the order in which they arrived."""
    return [write for write in _all(cluster, since) if write.resource != "leases"]


def lease_writes(cluster: Cluster, since: float = 0.0) -> list[Write]:
    """Return all successful writes to the Lease, in the order in which they arrived."""
    return [write for write in _all(cluster, since) if write.resource == "leases" and write.code < 300]


def _all(cluster: Cluster, since: float) -> list[Write]:
    if not cluster.can_inject_faults:
        pytest.skip("needs a kind cluster: reads the API server's audit log on its node")
    control_plane = next(node.name for node in cluster.nodes if not node.is_worker)
    # If there are no writes, grep finds nothing and exits with 1.
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

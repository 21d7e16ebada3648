"""Who wrote what: the API server's audit log of the test cluster."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from .cluster import Cluster
from .deploy import OPERATOR_NAMESPACE

OPERATOR = f"system:serviceaccount:{OPERATOR_NAMESPACE}:backendpool-operator"
LOG = "/var/log/kubernetes/audit.log"
_INSTANCE = re.compile(r"backendpool/\S+ \(([^)]+)\)")


@dataclass(frozen=True, slots=True)
class Write:
    """One write by an operator: when the API server got it and answered, by which instance, and what of."""

    received: datetime
    answered: datetime
    instance: str
    verb: str
    resource: str
    namespace: str
    name: str
    code: int


def operator_writes(cluster: Cluster) -> list[Write]:
    """All writes so far of the operators that share a Lease, but those to it, in the order of their arrival."""
    return [write for write in _all(cluster) if write.resource != "leases"]


def lease_writes(cluster: Cluster) -> list[Write]:
    """Those to the Lease, likewise."""
    return [write for write in _all(cluster) if write.resource == "leases"]


def _all(cluster: Cluster) -> list[Write]:
    control_plane = next(node.name for node in cluster.nodes if not node.is_worker)
    text = cluster.docker("exec", control_plane, "grep", "--fixed-strings", '"userAgent":"backendpool/', LOG)
    return sorted(_writes(text), key=lambda write: write.received)


def _writes(text: str) -> Iterator[Write]:
    for line in text.splitlines():
        entry = json.loads(line)
        instance, what = _INSTANCE.match(entry["userAgent"]), entry.get("objectRef", {})
        if instance and entry["user"]["username"] == OPERATOR:
            yield Write(
                received=datetime.fromisoformat(entry["requestReceivedTimestamp"]),
                answered=datetime.fromisoformat(entry["stageTimestamp"]),
                instance=instance[1],
                verb=entry["verb"],
                resource=what.get("resource", ""),
                namespace=what.get("namespace", ""),
                name=what.get("name", ""),
                code=entry.get("responseStatus", {}).get("code", 0),
            )

"""Who wrote what: the API server's audit log of the test cluster."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from .cluster import Cluster

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
    """All writes of operators so far but those to their Lease, in the order in which they were received."""
    control_plane = next(node.name for node in cluster.nodes if not node.is_worker)
    text = cluster.docker("exec", control_plane, "grep", "--fixed-strings", '"userAgent":"backendpool/', LOG)
    return sorted(_writes(text), key=lambda write: write.received)


def _writes(text: str) -> Iterator[Write]:
    for line in text.splitlines():
        entry = json.loads(line)
        instance, what = _INSTANCE.match(entry["userAgent"]), entry.get("objectRef", {})
        if instance and what.get("resource") != "leases":
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

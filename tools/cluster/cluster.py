"""The cluster as its users see it: access, and what may be done to it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.cluster import kind, process
from tools.cluster.engine import Engine
from tools.cluster.errors import ClusterError
from tools.cluster.kind import Node


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that responds.

    `kubeconfig` holds the single context `context`. `nodes`, `kind` and `engine` are set for kind clusters only; nodes
    of a user's cluster are never touched.
    """

    name: str
    context: str
    kubeconfig: Path
    kubectl: str
    nodes: tuple[Node, ...] = ()
    kind: str | None = None
    engine: Engine | None = None

    @property
    def can_inject_faults(self) -> bool:
        """Whether nodes may be paused, partitioned, or have processes killed."""
        return self.engine is not None

    @property
    def kubectl_command(self) -> list[str]:
        """kubectl with flags that bind it to this cluster, whatever the user's own configuration says."""
        return [self.kubectl, f"--kubeconfig={self.kubeconfig}", f"--context={self.context}"]

    def ask(self, *arguments: str, timeout: float = 60.0, hint: str = "") -> str:
        """Return the output of kubectl; raises ClusterError with `hint` on failure."""
        return process.answer([*self.kubectl_command, *arguments], timeout=timeout, hint=hint)

    def docker(self, *arguments: str, timeout: float = 60.0) -> str:
        """Return the output of docker, to inject faults: `docker("exec", node, ...)`, `docker("pause", node)`."""
        if self.engine is None:
            raise ClusterError(f"nodes of {self.name} must not be touched", hint="use CLUSTER=kind for this")
        return self.engine.ask(*arguments, timeout=timeout)

    def problems(self, timeout: float = 5.0) -> list[str]:
        """Return why the cluster is unhealthy; empty if it is healthy."""
        stopped = [f"the container of node {node.name} is not running" for node in self.nodes if not node.running]
        if stopped:
            return stopped
        try:
            told = self.ask("get", "nodes", "--output=json", f"--request-timeout={timeout:g}s", timeout=timeout + 5)
        except ClusterError:
            return ["its API server does not respond"]
        return unready(json.loads(told))

    def export_logs(self, folder: Path) -> None:
        """Write the logs of all nodes and pods below `folder`."""
        if self.kind is not None and self.engine is not None:
            kind.export_logs(self.kind, folder, self.engine)
        else:
            self.ask("cluster-info", "dump", "--all-namespaces", f"--output-directory={folder}", timeout=180)


def unready(nodes: Mapping[str, Any]) -> list[str]:
    """Describe the nodes of a node list that are not Ready."""
    return [f"node {node['metadata']['name']} is not ready" for node in nodes["items"] if not _is_ready(node)]


def _is_ready(node: Mapping[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

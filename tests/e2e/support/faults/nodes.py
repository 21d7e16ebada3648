"""Node faults as context managers: frozen, cut off, cordoned; and waiting for a healthy cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from tools.cluster import Cluster
from tools.cluster.kubectl import Kubectl, eventually

_CONTROLLERS = ("kube-controller-manager", "kube-scheduler")

_BLACK_HOLE = """
add table inet cut-off
add chain inet cut-off in { type filter hook prerouting priority -350; }
add chain inet cut-off out { type filter hook postrouting priority 350; }
add rule inet cut-off in iifname eth0 drop
add rule inet cut-off out oifname eth0 drop
"""
"""Drops all packets of a node without a response, as if its cable were unplugged."""

_LOST = """
add table inet black-hole
add chain inet black-hole way {{ type filter hook prerouting priority -350; }}
add chain inet black-hole back {{ type filter hook postrouting priority 350; }}
add rule inet black-hole way {family} daddr {address} drop
add rule inet black-hole way {family} saddr {address} drop
add rule inet black-hole back {family} daddr {address} drop
"""


def control_plane(cluster: Cluster) -> str:
    return next(node.name for node in cluster.nodes if not node.is_worker)


def workers(cluster: Cluster) -> list[str]:
    return sorted(node.name for node in cluster.nodes if node.is_worker)


@contextmanager
def frozen(cluster: Cluster, node: str) -> Iterator[None]:
    """Pause all processes of a node; its kernel still accepts connections, but no process responds."""
    cluster.docker("pause", node)
    try:
        yield
    finally:
        cluster.docker("unpause", node)


@contextmanager
def cut_off(cluster: Cluster, node: str) -> Iterator[None]:
    """Drop all packets from and to a node."""
    cluster.docker("exec", node, "sh", "-c", f"nft -f - <<'END'{_BLACK_HOLE}END")
    try:
        yield
    finally:
        cluster.docker("exec", node, "nft", "delete table inet cut-off")


@contextmanager
def black_hole(cluster: Cluster, node: str, address: str) -> Iterator[None]:
    """Drop all packets from and to an address on a node."""
    family = "ip6" if ":" in address else "ip"
    rules = _LOST.format(family=family, address=address)
    cluster.docker("exec", node, "sh", "-c", f"nft -f - <<'END'{rules}END")
    try:
        yield
    finally:
        cluster.docker("exec", node, "nft", "delete table inet black-hole")


@contextmanager
def cordoned(kubectl: Kubectl, node: str) -> Iterator[None]:
    """Mark a node as unschedulable within the context."""
    kubectl("cordon", node)
    try:
        yield
    finally:
        kubectl("uncordon", node)


def wait_healthy(cluster: Cluster, kubectl: Kubectl) -> None:
    """Wait until nodes are ready, controllers renew their Leases, and workers reach the API server."""

    def well() -> bool:
        problems = cluster.problems() or _idle(kubectl)
        assert not problems, problems
        return True

    eventually("a healthy cluster", well, timeout=400, every=0.5)
    address = kubectl.json("get", "service", "kubernetes")["spec"]["clusterIP"]
    for node in workers(cluster):
        assert _reaches(cluster, node, address), f"{node} does not reach the API server"


def _idle(kubectl: Kubectl) -> list[str]:
    """Return a line for each controller whose Lease is stale. A leader that runs renews its Lease every two seconds."""
    leases = kubectl.json("get", "leases", "--namespace=kube-system")["items"]
    renewed = {lease["metadata"]["name"]: datetime.fromisoformat(lease["spec"]["renewTime"]) for lease in leases}
    oldest = datetime.now(UTC) - timedelta(seconds=5)
    return [f"{name} does not renew its Lease" for name in _CONTROLLERS if renewed[name] < oldest]


def _reaches(cluster: Cluster, node: str, address: str) -> bool:
    """Whether a node reaches the API server. Retries for 2 min, since a hung API server leaves its Service."""
    url = f"https://[{address}]/readyz" if ":" in address else f"https://{address}/readyz"
    patience = "--connect-timeout 2 --retry 120 --retry-all-errors --retry-delay 1 --retry-max-time 120"
    script = f"curl --insecure --silent --output /dev/null {patience} {url} && echo reached || true"
    return "reached" in cluster.docker("exec", node, "sh", "-c", script)

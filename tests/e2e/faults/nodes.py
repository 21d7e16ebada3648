"""Faults of the cluster itself: processes on its nodes stopped and killed, nodes frozen and cut off.

Each lasts as long as its context does, and is undone however that ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from ..cluster import Cluster
from ..kubectl import Kubectl, eventually

_MANIFESTS = "/etc/kubernetes/manifests"
_CONTROLLERS = ("kube-controller-manager", "kube-scheduler")

_BLACK_HOLE = """
add table inet cut-off
add chain inet cut-off in { type filter hook prerouting priority -350; }
add chain inet cut-off out { type filter hook postrouting priority 350; }
add rule inet cut-off in iifname eth0 drop
add rule inet cut-off out oifname eth0 drop
"""
"""Drops without a word, as a cable that was pulled does."""

_EAT = """
for cgroup in $(find /sys/fs/cgroup -type d -name '*{container}*'); do
    test -e $cgroup/memory.limit_in_bytes -o -e $cgroup/memory.max || continue
    sh -c "echo \\$\\$ > $cgroup/cgroup.procs; exec dd if=/dev/zero of=/dev/null bs={megabytes}M count=1"
done
exit 0
"""
"""A process that needs that much memory, on the account of a container; it may be ended with it."""


def control_plane(cluster: Cluster) -> str:
    return next(node.name for node in cluster.nodes if not node.is_worker)


def workers(cluster: Cluster) -> list[str]:
    return sorted(node.name for node in cluster.nodes if node.is_worker)


@contextmanager
def hung(cluster: Cluster, program: str) -> Iterator[None]:
    """A program of the control plane stopped where it is: its connections stay open, and nothing is answered."""
    node, process = control_plane(cluster), _process(cluster, program)
    cluster.docker("exec", node, "kill", "-STOP", process)
    try:
        yield
    finally:
        cluster.docker("exec", node, "kill", "-CONT", process)


@contextmanager
def away(cluster: Cluster, program: str) -> Iterator[None]:
    """A program of the control plane ended, and started again at the end."""
    node, manifest = control_plane(cluster), f"{program}.yaml"
    cluster.docker("exec", node, "mv", f"{_MANIFESTS}/{manifest}", f"/root/{manifest}")
    try:
        eventually(f"{program} is gone", lambda: not _process(cluster, program), every=0.5)
        yield
    finally:
        cluster.docker("exec", node, "mv", f"/root/{manifest}", f"{_MANIFESTS}/{manifest}")
        eventually(f"{program} is back", lambda: _process(cluster, program), timeout=90, every=0.5)


def kill(cluster: Cluster, program: str) -> None:
    """SIGKILL to a program of the control plane; kubelet starts it again."""
    cluster.docker("exec", control_plane(cluster), "kill", "-KILL", _process(cluster, program))


def kill_container(cluster: Cluster, pod: dict[str, Any]) -> None:
    """SIGKILL to the main process of a pod's first container, as it was read before: the API server is not asked."""
    node, container = pod["spec"]["nodeName"], _container(pod)
    cluster.docker("exec", node, "ctr", "-n", "k8s.io", "task", "kill", "--signal=SIGKILL", container)


def exhaust_memory(cluster: Cluster, pod: dict[str, Any], megabytes: int) -> None:
    """Have the kernel kill the pod's first container, by need of more memory than its limit of ``megabytes``.

    Of two processes the kernel takes the one that kubelet has marked, and spares ours.
    """
    script = _EAT.format(container=_container(pod), megabytes=megabytes - 8)
    cluster.docker("exec", pod["spec"]["nodeName"], "sh", "-c", script)


@contextmanager
def frozen(cluster: Cluster, node: str) -> Iterator[None]:
    """All processes of a node stopped; its kernel still takes connections, and nobody answers."""
    cluster.docker("pause", node)
    try:
        yield
    finally:
        cluster.docker("unpause", node)


@contextmanager
def cut_off(cluster: Cluster, node: str) -> Iterator[None]:
    """A node that nothing comes from and nothing gets to."""
    cluster.docker("exec", node, "sh", "-c", f"nft -f - <<'END'{_BLACK_HOLE}END")
    try:
        yield
    finally:
        cluster.docker("exec", node, "nft", "delete table inet cut-off")


@contextmanager
def cordoned(kubectl: Kubectl, node: str) -> Iterator[None]:
    """A node that no new pod is put on."""
    kubectl("cordon", node)
    try:
        yield
    finally:
        kubectl("uncordon", node)


def wait_well(cluster: Cluster, kubectl: Kubectl) -> None:
    """Wait until the cluster works as before: nodes ready, controllers at work, the API server reached from each node.

    A kube-proxy that has lost the way to it for good is started again.
    """

    def well() -> bool:
        problems = cluster.problems() or _idle(kubectl)
        assert not problems, problems
        return True

    eventually("the cluster is well again", well, timeout=180, every=0.5)
    address = kubectl.json("get", "service", "kubernetes")["spec"]["clusterIP"]
    for node in workers(cluster):
        if not _reaches(cluster, node, address):
            print(f"kube-proxy on {node} has lost the API server's address: it is started again")
            here = (
                "--namespace=kube-system",
                "--selector=k8s-app=kube-proxy",
                f"--field-selector=spec.nodeName={node}",
            )
            kubectl("delete", "pod", *here)
            assert _reaches(cluster, node, address), f"{node} does not reach the API server"


def _idle(kubectl: Kubectl) -> list[str]:
    """The controllers that nobody runs: who leads renews a Lease every two seconds."""
    leases = kubectl.json("get", "leases", "--namespace=kube-system")["items"]
    renewed = {lease["metadata"]["name"]: datetime.fromisoformat(lease["spec"]["renewTime"]) for lease in leases}
    oldest = datetime.now(UTC) - timedelta(seconds=5)
    return [f"{name} does nothing" for name in _CONTROLLERS if renewed[name] < oldest]


def _reaches(cluster: Cluster, node: str, address: str) -> bool:
    """Within 30 s: the API server takes its address out of the Service while it hangs, and puts it in again."""
    url = f"https://[{address}]/readyz" if ":" in address else f"https://{address}/readyz"
    patience = "--connect-timeout 2 --retry 30 --retry-all-errors --retry-delay 1 --retry-max-time 30"
    script = f"curl --insecure --silent --output /dev/null {patience} {url} && echo reached || true"
    return "reached" in cluster.docker("exec", node, "sh", "-c", script)


def _container(pod: dict[str, Any]) -> str:
    return str(pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://"))


def _process(cluster: Cluster, program: str) -> str:
    """Its id on the control plane, empty where it does not run."""
    return cluster.docker("exec", control_plane(cluster), "sh", "-c", f"pgrep --exact {program[:15]} || true").strip()

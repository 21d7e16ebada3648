"""Process faults: stop, hang and kill programs of the control plane and of pods.

Context managers undo their fault on exit. Pods are given as they were read before, since the API server may be down.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.e2e.support.faults.nodes import control_plane
from tools.cluster import Cluster
from tools.cluster.kubectl import eventually

_MANIFESTS = "/etc/kubernetes/manifests"

_KILL = """
for container in $(ctr --namespace=k8s.io containers list --quiet 'labels."io.kubernetes.pod.uid"=={uid}'); do
    ctr --namespace=k8s.io task kill --signal=SIGKILL $container || true
done
"""
"""Containers that ended before have no task any more."""

_EAT = """
for cgroup in $(find /sys/fs/cgroup -type d -name '*{container}*'); do
    test -e $cgroup/memory.limit_in_bytes -o -e $cgroup/memory.max || continue
    sh -c "echo \\$\\$ > $cgroup/cgroup.procs; exec dd if=/dev/zero of=/dev/null bs={megabytes}M count=1"
done
exit 0
"""
"""A process that needs that much memory, on the account of a container; it may be ended with it."""


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
def stopped(cluster: Cluster, program: str) -> Iterator[None]:
    """A program of the control plane ended, and started again at the end."""
    node, manifest = control_plane(cluster), f"{program}.yaml"
    cluster.docker("exec", node, "mv", f"{_MANIFESTS}/{manifest}", f"/root/{manifest}")
    try:
        eventually(f"{program} is gone", lambda: not _process(cluster, program), every=0.5)
        yield
    finally:
        cluster.docker("exec", node, "mv", f"/root/{manifest}", f"{_MANIFESTS}/{manifest}")
        eventually(f"{program} is back", lambda: _process(cluster, program), timeout=300, every=0.5)


def kill(cluster: Cluster, program: str) -> None:
    """SIGKILL to a program of the control plane; kubelet starts it again."""
    cluster.docker("exec", control_plane(cluster), "kill", "-KILL", _process(cluster, program))


def kill_pod(cluster: Cluster, pod: dict[str, Any]) -> None:
    """SIGKILL to all of a pod, what holds its network too; kubelet starts it anew, with another address.

    It needs no API server for that, and nobody hears of the new address while there is none.
    """
    script = _KILL.format(uid=pod["metadata"]["uid"])
    cluster.docker("exec", pod["spec"]["nodeName"], "sh", "-c", script)


def exhaust_memory(cluster: Cluster, pod: dict[str, Any], megabytes: int) -> None:
    """Have the kernel kill the pod's first container, by need of more memory than its limit of ``megabytes``.

    Of two processes the kernel takes the one that kubelet has marked, and spares ours.
    """
    script = _EAT.format(container=_container(pod), megabytes=megabytes - 8)
    cluster.docker("exec", pod["spec"]["nodeName"], "sh", "-c", script)


def was_out_of_memory(cluster: Cluster, pod: dict[str, Any]) -> bool:
    """Whether the kernel says that it killed a process of the pod's first container for want of memory."""
    log = cluster.docker("exec", pod["spec"]["nodeName"], "dmesg")
    return any("oom-kill:" in line and _container(pod) in line for line in log.splitlines())


def _container(pod: dict[str, Any]) -> str:
    return str(pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://"))


def _process(cluster: Cluster, program: str) -> str:
    """Its id on the control plane, empty where it does not run."""
    return cluster.docker("exec", control_plane(cluster), "sh", "-c", f"pgrep --exact {program[:15]} || true").strip()

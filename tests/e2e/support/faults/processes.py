"""Process faults: stop, hang and kill programs of the control plane and of pods.

Context managers undo their fault on exit. Callers pass pods as objects read earlier, since the API server may be down.
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
"""Ignores errors of ``kill``, since terminated containers have no task."""

_EAT = """
for cgroup in $(find /sys/fs/cgroup -type d -name '*{container}*'); do
    test -e $cgroup/memory.limit_in_bytes -o -e $cgroup/memory.max || continue
    sh -c "echo \\$\\$ > $cgroup/cgroup.procs; exec dd if=/dev/zero of=/dev/null bs={megabytes}M count=1"
done
exit 0
"""
"""Allocates memory in the cgroup of a container; the kernel may kill this process, too."""


@contextmanager
def hung(cluster: Cluster, program: str) -> Iterator[None]:
    """Pause a program of the control plane: its connections stay open, but it does not respond."""
    node, process = control_plane(cluster), _process(cluster, program)
    cluster.docker("exec", node, "kill", "-STOP", process)
    try:
        yield
    finally:
        cluster.docker("exec", node, "kill", "-CONT", process)


@contextmanager
def stopped(cluster: Cluster, program: str) -> Iterator[None]:
    """Stop a program of the control plane, and start it again at the end."""
    node, manifest = control_plane(cluster), f"{program}.yaml"
    cluster.docker("exec", node, "mv", f"{_MANIFESTS}/{manifest}", f"/root/{manifest}")
    try:
        eventually(f"the end of {program}", lambda: not _process(cluster, program), every=0.5)
        yield
    finally:
        cluster.docker("exec", node, "mv", f"/root/{manifest}", f"{_MANIFESTS}/{manifest}")
        eventually(f"the restart of {program}", lambda: _process(cluster, program), timeout=300, every=0.5)


def kill(cluster: Cluster, program: str) -> None:
    """Send SIGKILL to a program of the control plane; the kubelet restarts it."""
    cluster.docker("exec", control_plane(cluster), "kill", "-KILL", _process(cluster, program))


def kill_pod(cluster: Cluster, pod: dict[str, Any]) -> None:
    """Send SIGKILL to all containers of a pod, including its sandbox; the kubelet restarts it with another address.

    The kubelet needs no API server for that. While the API server is down, no component learns the new address.
    """
    script = _KILL.format(uid=pod["metadata"]["uid"])
    cluster.docker("exec", pod["spec"]["nodeName"], "sh", "-c", script)


def exhaust_memory(cluster: Cluster, pod: dict[str, Any], megabytes: int) -> None:
    """Exceed the memory limit of the pod's first container (``megabytes``), so that the kernel kills its process.

    The kernel prefers the container's process to ours, since the kubelet gave it a higher oom_score_adj.
    """
    script = _EAT.format(container=_container(pod), megabytes=megabytes - 8)
    cluster.docker("exec", pod["spec"]["nodeName"], "sh", "-c", script)


def was_out_of_memory(cluster: Cluster, pod: dict[str, Any]) -> bool:
    """Whether the kernel's log has an OOM kill in the pod's first container."""
    log = cluster.docker("exec", pod["spec"]["nodeName"], "dmesg")
    return any("oom-kill:" in line and _container(pod) in line for line in log.splitlines())


def _container(pod: dict[str, Any]) -> str:
    return str(pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://"))


def _process(cluster: Cluster, program: str) -> str:
    """Return the process ID of a program of the control plane; empty if it does not run."""
    return cluster.docker("exec", control_plane(cluster), "sh", "-c", f"pgrep --exact {program[:15]} || true").strip()

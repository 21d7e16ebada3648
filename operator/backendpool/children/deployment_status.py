"""Read the state of a Deployment from its status and the status of its pods. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from backendpool.children.manifest import KubernetesObject

_LONGEST_MESSAGE: Final = 500
"""Characters of a quoted message: names of images and volumes can make them long."""


def is_rolled_out(deployment: KubernetesObject) -> bool:
    """Return whether all replicas are up to date and available, or no more pods can be created for now.

    The rules are those of ``kubectl rollout status``.
    """
    status = deployment.get("status") or {}
    if status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 0):
        return False
    wanted = deployment["spec"]["replicas"]
    counts = (status.get("replicas", 0), status.get("updatedReplicas", 0), status.get("availableReplicas", 0))
    return all(count == wanted for count in counts) or _replica_failure(deployment) is not None


def has_unavailable_replicas(deployment: KubernetesObject) -> bool:
    """Return whether a replica is unavailable, including one of a rollout that makes no progress."""
    status = deployment.get("status") or {}
    wanted = deployment["spec"]["replicas"]
    return bool(status.get("unavailableReplicas")) or (status.get("availableReplicas") or 0) < wanted


def explain_unavailable(deployment: KubernetesObject, pods: Iterable[KubernetesObject], secret: str) -> str:
    """Explain why a pod of ``deployment`` is unavailable, as a part of a sentence; empty if the reason is unknown.

    The message of a container that exited comes first: it knows best. ``secret`` is the Secret that the pods mount, if
    any: kubelet does not report in a pod's status that it waits for a volume.
    """
    current = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    reasons = [*_exited(current), *_waiting(current), *_unscheduled(current), *_without_volume(current, secret)]
    return next(iter(reasons), "") or _not_created(deployment)


def _exited(pods: Iterable[KubernetesObject]) -> Iterator[str]:
    for pod, status in _containers(pods):
        for state in (status.get("state"), status.get("lastState")):
            exited = (state or {}).get("terminated") or {}
            if exited.get("exitCode"):
                message = (exited.get("message") or "").strip().rpartition("\n")[2]
                reason = _cut(message or exited.get("reason") or "see its log")
                yield f"pod {pod} ended with {exited['exitCode']}: {reason}"


def _waiting(pods: Iterable[KubernetesObject]) -> Iterator[str]:
    for pod, status in _containers(pods):
        waiting = (status.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            yield f"pod {pod} does not start ({waiting['reason']}): {_cut(waiting.get('message') or 'see its events')}"


def _unscheduled(pods: Iterable[KubernetesObject]) -> Iterator[str]:
    for pod in pods:
        for condition in pod.get("status", {}).get("conditions") or ():
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                yield f"pod {pod['metadata']['name']} has no node: {_cut(condition.get('message') or 'see its events')}"


def _without_volume(pods: Iterable[KubernetesObject], secret: str) -> Iterator[str]:
    for pod, status in _containers(pods):
        waiting = (status.get("state") or {}).get("waiting") or {}
        if secret and waiting.get("reason") == "ContainerCreating":
            yield f"pod {pod} waits for its volumes: check that there is a Secret {secret} with tls.crt and tls.key"


def _not_created(deployment: KubernetesObject) -> str:
    if (failure := _replica_failure(deployment)) is None:
        return ""
    return f"no pod can be created: {_cut(failure.get('message') or failure.get('reason') or '')}"


def _replica_failure(deployment: KubernetesObject) -> Mapping[str, Any] | None:
    """The condition ``ReplicaFailure`` if it is true: a quota or an admission policy rejects the pods."""
    conditions = (deployment.get("status") or {}).get("conditions") or ()
    return next((one for one in conditions if (one.get("type"), one.get("status")) == ("ReplicaFailure", "True")), None)


def _containers(pods: Iterable[KubernetesObject]) -> Iterator[tuple[str, KubernetesObject]]:
    for pod in pods:
        for status in pod.get("status", {}).get("containerStatuses") or ():
            yield pod["metadata"]["name"], status


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}…"

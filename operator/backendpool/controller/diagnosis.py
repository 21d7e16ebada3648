"""Why a pool's lookaside has no available server, in the words of its pods. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

_LONGEST: Final = 500
"""Characters of a message that is quoted: images' and volumes' names can make them long."""


def why_unavailable(deployment: Mapping[str, Any], pods: Iterable[Mapping[str, Any]], secret: str) -> str:
    """What keeps a pod of ``deployment`` from being available, as a sentence within others; empty where nobody knows.

    What a program said when it ended comes first, for it knows best. ``secret`` is what the pods mount, if anything:
    kubelet does not say in a pod's status that it waits for a volume.
    """
    standing = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    found = [*_ended(standing), *_waiting(standing), *_unscheduled(standing), *_unmade(standing, secret)]
    return next(iter(found), "") or _refused(deployment)


def _ended(pods: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for pod, status in _containers(pods):
        for state in (status.get("state"), status.get("lastState")):
            ended = (state or {}).get("terminated") or {}
            if ended.get("exitCode"):
                said = (ended.get("message") or "").strip().rpartition("\n")[2]
                yield f"pod {pod} ended with {ended['exitCode']}: {_cut(said or ended.get('reason') or 'see its log')}"


def _waiting(pods: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for pod, status in _containers(pods):
        waiting = (status.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            yield f"pod {pod} does not start ({waiting['reason']}): {_cut(waiting.get('message') or 'see its events')}"


def _unscheduled(pods: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for pod in pods:
        for condition in pod.get("status", {}).get("conditions") or ():
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                yield f"pod {pod['metadata']['name']} has no node: {_cut(condition.get('message') or 'see its events')}"


def _unmade(pods: Iterable[Mapping[str, Any]], secret: str) -> Iterator[str]:
    for pod, status in _containers(pods):
        waiting = (status.get("state") or {}).get("waiting") or {}
        if secret and waiting.get("reason") == "ContainerCreating":
            yield f"pod {pod} waits for its volumes: see that there is a Secret {secret} with tls.crt and tls.key"


def _refused(deployment: Mapping[str, Any]) -> str:
    """Where there are no pods at all: a quota, or an admission policy."""
    for condition in (deployment.get("status") or {}).get("conditions") or ():
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return f"no pod can be made: {_cut(condition.get('message') or condition.get('reason') or '')}"
    return ""


def _containers(pods: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for pod in pods:
        for status in pod.get("status", {}).get("containerStatuses") or ():
            yield pod["metadata"]["name"], status


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"

"""Kubernetes events about pools: what `kubectl describe` shows under Events.

Best effort, as everywhere in Kubernetes: an event that cannot be posted is dropped, and never holds up or
fails a reconcile. Conditions and metrics carry what must not be lost.

What happens again and again to one pool is told less and less often, and how often it happened: a pool whose last
endpoint comes and goes would else make events for ever, as fast as its status can be written.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NoReturn

from backendpool.api.constants import API_VERSION, GROUP, KIND
from backendpool.api.pool import Pool
from backendpool.controller.workqueue import WorkQueue, WorkTiming
from backendpool.errors import ClusterError
from backendpool.k8s.client import Api
from backendpool.k8s.resources import EVENTS
from backendpool.runtime.backoff import OutageLog

log = logging.getLogger(__name__)

TIMING = WorkTiming(spacing=30.0, longest_spacing=600.0)
"""Of events with the same reason about the same pool."""

_MOST_WAITING = 1000
_LONGEST_NOTE = 1024  # bytes; this and the next by the API server's validation of events.k8s.io/v1
_LONGEST_INSTANCE = 128
_SETTLED = 5.0  # seconds after which events that are posted again are worth a line


@dataclass(frozen=True, slots=True)
class Notice:
    """One event: ``warning`` or not, a CamelCase ``reason``, the ``action`` taken, and a sentence."""

    reason: str
    note: str
    warning: bool = False
    action: str = "Reconcile"


@dataclass(frozen=True, slots=True)
class _Waiting:
    """The latest of ``times`` notices that are to be one event."""

    pool: Pool
    notice: Notice
    at: datetime
    times: int


class EventRecorder:
    """Posts notices in the background: the first of a reason about a pool at once, the latest of further ones later."""

    def __init__(self, api: Api, instance: str, timing: WorkTiming = TIMING) -> None:
        self._api = api
        self._instance = instance
        self._queue: WorkQueue[tuple[str, str]] = WorkQueue(timing=timing)
        self._waiting: dict[tuple[str, str], _Waiting] = {}
        self._outage = OutageLog(log, "events cannot be posted", "posting events again", _SETTLED)
        self._dropped = 0

    def record(self, pool: Pool, notice: Notice) -> None:
        """Post ``notice`` about ``pool`` soon; dropped where too many wait already."""
        key = (pool.uid, notice.reason)
        earlier = self._waiting.get(key)
        if earlier is None:
            log.info("%s/%s: %s: %s", pool.namespace, pool.name, notice.reason, notice.note)
            if len(self._waiting) >= _MOST_WAITING:
                self._drop(pool)
                return
        # Without its status: those of all pools whose events wait would be more than all else that is held of them.
        about = replace(pool, status={})
        self._waiting[key] = _Waiting(about, notice, datetime.now(UTC), earlier.times + 1 if earlier else 1)
        self._queue.add(key)

    async def run(self) -> NoReturn:
        """Post until cancelled, and then to its end what is under way."""
        await self._queue.run(self._post, workers=1)

    def _drop(self, pool: Pool) -> None:
        if not self._dropped:
            log.warning("dropping events, the first of %s/%s: %d wait already", *pool.key, _MOST_WAITING)
        self._dropped += 1

    async def _post(self, key: tuple[str, str]) -> None:
        waiting = self._waiting.pop(key, None)
        if waiting is None:
            return  # posted by the run before, which this notice came in time for
        try:
            await self._api.create(EVENTS, _event(waiting, self._instance))
            self._outage.record_success()
        except ClusterError as error:
            self._outage.record_failure(error)
        # A line for each would be a flood, and there is room for one more whenever one was posted.
        if self._dropped and not self._waiting:
            log.warning("dropped %d events", self._dropped)
            self._dropped = 0


def _event(waiting: _Waiting, instance: str) -> dict[str, Any]:
    pool, notice = waiting.pool, waiting.notice
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": f"{pool.name}-", "namespace": pool.namespace},
        "eventTime": waiting.at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "type": "Warning" if notice.warning else "Normal",
        "reason": notice.reason,
        "action": notice.action,
        "note": _note(notice.note, waiting.times),
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "namespace": pool.namespace,
            "name": pool.name,
            "uid": pool.uid,
            "resourceVersion": pool.resource_version,
        },
        "reportingController": f"{GROUP}/operator",
        "reportingInstance": instance[:_LONGEST_INSTANCE],
    }


def _note(text: str, times: int) -> str:
    suffix = f" ({times} times since it was last told)" if times > 1 else ""
    return text.encode(errors="replace")[: _LONGEST_NOTE - len(suffix)].decode(errors="ignore") + suffix

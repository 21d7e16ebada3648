"""Kubernetes events about pools, as `kubectl describe` lists them.

Best effort, as everywhere in Kubernetes: an event that cannot be posted is dropped, and never delays or fails a
reconcile. Conditions and metrics carry what must not be lost.

Repeated events of one reason and pool are throttled and counted: otherwise a pool whose last endpoint comes and goes
would post events as fast as its status can be written.
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

TIMING = WorkTiming(min_interval=30.0, max_interval=600.0)
"""The throttling of events that have the same reason and pool."""

_MAX_PENDING = 1000
_LONGEST_NOTE = 1024  # bytes; this and the next are limits of events.k8s.io/v1
_LONGEST_INSTANCE = 128
_HEALTHY_AFTER = 5.0  # seconds without a failure until an outage is over


@dataclass(frozen=True, slots=True)
class PoolEvent:
    """One event: ``warning`` or not, a CamelCase ``reason``, the ``action`` taken, and a sentence."""

    reason: str
    note: str
    warning: bool = False
    action: str = "Reconcile"


@dataclass(frozen=True, slots=True)
class _Pending:
    """The latest of ``count`` occurrences that are posted as one event."""

    pool: Pool
    event: PoolEvent
    at: datetime
    count: int


class EventRecorder:
    """Posts events in the background: the first of a reason and pool at once, the latest of further ones later."""

    def __init__(self, api: Api, instance: str, timing: WorkTiming = TIMING) -> None:
        self._api = api
        self._instance = instance
        self._queue: WorkQueue[tuple[str, str]] = WorkQueue(
            timing=timing, log_fields=lambda key: {"key": "/".join(key)}
        )
        self._pending: dict[tuple[str, str], _Pending] = {}
        self._outage = OutageLog(
            log, "Posting events failed, dropping them", "Posting events recovered", _HEALTHY_AFTER
        )
        self._dropped = 0

    def record(self, pool: Pool, event: PoolEvent) -> None:
        """Post ``event`` about ``pool`` soon, or drop it if too many are pending."""
        key = (pool.uid, event.reason)
        earlier = self._pending.get(key)
        if earlier is None:
            log.info(
                "Recorded an event",
                extra={"pool": "/".join(pool.key), "reason": event.reason, "note": event.note},
            )
            if len(self._pending) >= _MAX_PENDING:
                self._drop(pool)
                return
        # Without the status: those of all pools with pending events would take more memory than the cache.
        about = replace(pool, status={})
        self._pending[key] = _Pending(about, event, datetime.now(UTC), earlier.count + 1 if earlier else 1)
        self._queue.add(key)

    async def run(self) -> NoReturn:
        """Post until cancelled; a post in flight is completed."""
        await self._queue.run(self._post, workers=1)

    def _drop(self, pool: Pool) -> None:
        if not self._dropped:
            log.warning(
                "Too many pending events, dropping further ones",
                extra={"pool": "/".join(pool.key), "pending": _MAX_PENDING},
            )
        self._dropped += 1

    async def _post(self, key: tuple[str, str]) -> None:
        pending = self._pending.pop(key, None)
        if pending is None:
            return  # the previous run posted it
        try:
            await self._api.create(EVENTS, _event(pending, self._instance))
            self._outage.record_success()
        except ClusterError as error:
            self._outage.record_failure(error)
        # One line for all: under load, each post that makes room is followed by another drop.
        if self._dropped and not self._pending:
            log.warning("Dropped events", extra={"dropped": self._dropped})
            self._dropped = 0


def _event(pending: _Pending, instance: str) -> dict[str, Any]:
    pool, event = pending.pool, pending.event
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": f"{pool.name}-", "namespace": pool.namespace},
        "eventTime": pending.at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "type": "Warning" if event.warning else "Normal",
        "reason": event.reason,
        "action": event.action,
        "note": _note(event.note, pending.count),
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


def _note(text: str, count: int) -> str:
    suffix = f" ({count} times since it was last told)" if count > 1 else ""
    return text.encode(errors="replace")[: _LONGEST_NOTE - len(suffix)].decode(errors="ignore") + suffix

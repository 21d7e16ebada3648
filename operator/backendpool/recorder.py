"""Kubernetes events about pools: what `kubectl describe` shows under Events.

Best effort, as everywhere in Kubernetes: an event that cannot be posted is dropped, and never holds up or
fails a reconcile. Conditions and metrics carry what must not be lost.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from backendpool.cluster.api import Api
from backendpool.cluster.resources import EVENTS
from backendpool.errors import ClusterError
from backendpool.names import API_VERSION, GROUP, KIND
from backendpool.pool import Pool

log = logging.getLogger(__name__)

_MOST_WAITING = 1000
_LONGEST_NOTE = 1024  # bytes; this and the next by the API server's validation of events.k8s.io/v1
_LONGEST_INSTANCE = 128


@dataclass(frozen=True, slots=True)
class Notice:
    """One event: ``warning`` or not, a CamelCase ``reason``, the ``action`` taken, and a sentence."""

    reason: str
    note: str
    warning: bool = False
    action: str = "Reconcile"


class EventRecorder:
    """Posts notices in the order in which they were recorded, in the background."""

    def __init__(self, api: Api, instance: str) -> None:
        self._api = api
        self._instance = instance
        self._waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_MOST_WAITING)
        self._dropped = 0

    def record(self, pool: Pool, notice: Notice) -> None:
        """Post ``notice`` about ``pool`` soon; dropped where too many wait already."""
        log.info("%s/%s: %s: %s", pool.namespace, pool.name, notice.reason, notice.note)
        try:
            self._waiting.put_nowait(_event(pool, notice, self._instance, datetime.now(UTC)))
        except asyncio.QueueFull:
            if not self._dropped:
                log.warning("dropping events, the first of %s/%s: %d wait already", *pool.key, _MOST_WAITING)
            self._dropped += 1

    async def run(self) -> NoReturn:
        while True:
            event = await self._waiting.get()
            try:
                await self._api.create(EVENTS, event)
            except ClusterError as error:
                log.warning("could not post the event %s: %s", event["reason"], error)
            # A line for each would be a flood, and there is room for one more whenever one was posted.
            if self._dropped and self._waiting.empty():
                log.warning("dropped %d events", self._dropped)
                self._dropped = 0


def _event(pool: Pool, notice: Notice, instance: str, now: datetime) -> dict[str, Any]:
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": f"{pool.name}-", "namespace": pool.namespace},
        "eventTime": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "type": "Warning" if notice.warning else "Normal",
        "reason": notice.reason,
        "action": notice.action,
        "note": notice.note.encode()[:_LONGEST_NOTE].decode(errors="ignore"),
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

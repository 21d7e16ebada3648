"""A reflector: lists the objects of one kind, then watches them, and keeps a store current.

The rules are those of client-go. A watch resumes from the last resource version, which bookmarks keep recent, also
after an outage. The objects are listed again, and only the differences reported, whenever an event may have been lost:
if the version is too old (410), if a watch is idle for too long, has a malformed event, or is empty time after time,
and after every API error but 429.

Stale data is better than none: whatever fails, the store stays as it is until a complete list replaces it. It is
current as of the last list, event or bookmark. That a watch was accepted proves nothing: it may have been accepted by
something between us and the API server.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Generic, NoReturn, TypeVar

from backendpool.errors import ApiError, ClusterError, Gone, TooManyRequests, Unreachable
from backendpool.k8s.client import Api
from backendpool.k8s.request import Document
from backendpool.k8s.resources import Resource
from backendpool.k8s.store import Key, OnChange, Store, version_of
from backendpool.runtime.backoff import OutageLog, max_backoff
from backendpool.runtime.clock import since_boot
from backendpool.runtime.logs import FieldLogger

log = logging.getLogger(__name__)

T = TypeVar("T")

_MAX_EMPTY_WATCHES: Final = 3
"""Number of accepted watches in a row without an event after which the objects are listed again."""


@dataclass(frozen=True, slots=True)
class ReflectorTiming:
    """All in seconds.

    A watch that is silent for ``idle_timeout`` is given up: the API server sends a bookmark about once a minute. If a
    watch that brought something ends before ``healthy_after``, that is a failure. Failures in a row are followed by
    pauses of up to ``backoff``, doubled up to ``longest_backoff``, with full jitter.
    """

    idle_timeout: float = 90.0
    healthy_after: float = 5.0
    backoff: float = 0.5
    longest_backoff: float = 10.0
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    jitter: Callable[[float, float], float] = random.uniform
    clock: Callable[[], float] = since_boot

    def pause(self, failures: int) -> float:
        """Return the seconds to wait after ``failures`` failures in a row."""
        return self.jitter(0.0, max_backoff(failures, self.backoff, self.longest_backoff))


class ReflectorMetrics:
    """The metrics of reflectors; no-ops unless they are overridden."""

    def listed(self, resource: Resource, objects: int, seconds: float) -> None:
        """Record a complete list."""

    def event(self, resource: Resource, kind: str) -> None:
        """Record a watch event: ADDED, MODIFIED, DELETED or BOOKMARK."""

    def failed(self, resource: Resource, error: ClusterError) -> None:
        """Record a failed list or watch, which will be retried."""


class Reflector(Generic[T]):
    """The objects of one kind, as ``parse`` returns them; ``on_change`` is called for each difference.

    When ``on_change`` is called, ``items`` already has the change, and the whole list if it is one of a list. An object
    on which ``parse`` or ``on_change`` raises is logged and keeps its previous state.
    """

    def __init__(
        self,
        api: Api,
        resource: Resource,
        parse: Callable[[Document], T],
        on_change: OnChange[T],
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        timing: ReflectorTiming = ReflectorTiming(),
        metrics: ReflectorMetrics | None = None,
    ) -> None:
        self.problem: ClusterError | None = None
        self._api = api
        self._resource = resource
        self._store = store = Store(parse, on_change)
        self._handlers = {
            "ADDED": store.put,
            "MODIFIED": store.put,
            "DELETED": store.delete,
            "BOOKMARK": store.bookmark,
        }
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._timing = timing
        self._clock = timing.clock
        self._metrics = metrics or ReflectorMetrics()
        self._synced = asyncio.Event()
        self._must_list = True
        self._current_at = -math.inf
        self._empty_watches = 0  # in a row that were accepted and brought nothing
        self._watch_began_at = math.inf
        outage_log = FieldLogger(log, resource=resource.plural, namespace=namespace, selector=field_selector or None)
        self._outage = OutageLog(outage_log, "Watch failed, retrying", "Watch recovered", timing.healthy_after)

    @property
    def items(self) -> Mapping[Key, T]:
        """All objects, read-only; empty until synced."""
        return self._store.items

    @property
    def synced(self) -> bool:
        """Whether the first list is complete."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        """Wait until the first list is complete and ``on_change`` was called for it."""
        await self._synced.wait()

    def age(self) -> float:
        """Seconds since the store was last known to be current; infinite before the first list."""
        return self._clock() - self._current_at

    async def run(self) -> NoReturn:
        """List and watch until cancelled, through every :class:`~backendpool.errors.ClusterError`."""
        while True:
            failure = await self._list_and_watch()
            if failure:
                await self._pause(failure)

    async def _list_and_watch(self) -> ClusterError | None:
        """List if necessary, then watch until the watch ends. Return the error if either failed, else None."""
        listed = self._must_list or self._empty_watches >= _MAX_EMPTY_WATCHES
        self._watch_began_at = math.inf
        try:
            if listed:
                await self._list()
            await self._watch(listed)
        except (Unreachable, TooManyRequests) as error:
            # An outage loses no events, and after it all clients would list at the same time.
            return error
        except ClusterError as error:
            self._must_list = True
            # After an outage the version is too old: no reason to wait.
            return None if isinstance(error, Gone) and (self._watch_was_healthy() or not listed) else error
        return None

    async def _list(self) -> None:
        begun = self._clock()
        listed: dict[Key, T | None] = {}
        token = ""
        while True:
            page = await self._api.list_page(
                self._resource,
                self._namespace,
                label_selector=self._label_selector,
                field_selector=self._field_selector,
                continue_token=token,
            )
            listed |= self._store.parse_page(page["items"])
            token = page["metadata"].get("continue", "")
            if not token:
                break
        self._metrics.listed(self._resource, len(listed), self._clock() - begun)
        self._store.replace(listed, version_of(page))
        self._mark_current(begun)  # all pages have the version of the first one
        self._must_list = False
        self._synced.set()

    async def _watch(self, listed: bool) -> None:
        events = self._api.watch(
            self._resource,
            self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            resource_version=self._store.version,
            idle_timeout=self._timing.idle_timeout,
        )
        async with aclosing(events):
            await anext(events)
            self._watch_began_at = self._clock()
            self._empty_watches += 1
            if listed:
                self._mark_healthy()
            async for event in events:
                self._handle(event)
        if self._empty_watches or not self._watch_was_healthy():
            raise Unreachable(f"the watch on {self._resource.plural} was closed before its first event")

    def _handle(self, event: Document) -> None:
        kind, obj = event["type"], event["object"]
        self._metrics.event(self._resource, kind)
        if self._handlers[kind](obj):
            self._mark_current(self._clock())
            self._mark_healthy()

    def _watch_was_healthy(self) -> bool:
        """Whether the watch lasted so long that its time limit probably ended it, not a fault."""
        return self._clock() - self._watch_began_at >= self._timing.healthy_after

    def _mark_current(self, at: float) -> None:
        self._current_at = at
        self._empty_watches = 0

    def _mark_healthy(self) -> None:
        self.problem = None
        self._outage.record_success()

    async def _pause(self, error: ClusterError) -> None:
        self.problem = error
        self._outage.record_failure(error)
        self._metrics.failed(self._resource, error)
        retry_after = (error.retry_after or 0.0) if isinstance(error, ApiError) else 0.0
        await self._timing.sleep(retry_after + self._timing.pause(self._outage.failures))

"""A view of a part of the cluster that keeps itself current: list once, then watch, for ever.

The rules are those of the API's own clients. A watch goes on from the last resource version that was seen, and
bookmarks keep that version young. An outage is gone on from as well. Where something may have been lost, all is listed
again, and only what then differs from the view is told: when the version is too old (410), when a watch is silent for
too long, carries what is no event, or brings nothing time after time, and after all refusals but 429.

Between a view that is old and none, the old one is kept: whatever fails, the view stays as it was until a complete
list replaces it. It is current as of the last list, event or bookmark. That a watch was taken proves nothing: it may be
anything between us and the API server that took it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, NoReturn, Protocol, TypeVar

from backendpool.errors import ApiError, ClusterError, Gone, TooManyRequests, Unreachable
from backendpool.k8s.client import Api
from backendpool.k8s.request import Document
from backendpool.k8s.resources import Resource
from backendpool.k8s.store import Change, Key, View, version_of
from backendpool.runtime.backoff import OutageLog, max_backoff
from backendpool.runtime.clock import since_boot

log = logging.getLogger(__name__)

T = TypeVar("T")

_FRUITLESS = 3
"""So many watches in a row may be taken and bring nothing; then only a list can tell what is true."""

__all__ = ["Change", "Key", "Reflector", "ReflectorMetrics", "ReflectorTiming"]


@dataclass(frozen=True, slots=True)
class ReflectorTiming:
    """All in seconds.

    ``stall`` is how long a watch may be silent: the API server sends a bookmark about once a minute.
    ``settled`` is how long one must live, and have brought something, for its end to be no failure. Failures in a row
    are followed by pauses of up to ``backoff``, twice that, and so on up to ``longest_backoff``, with full jitter: so
    much longer than the API server itself may a view be stale.
    """

    stall: float = 90.0
    settled: float = 5.0
    backoff: float = 0.5
    longest_backoff: float = 10.0
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    jitter: Callable[[float, float], float] = random.uniform

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        return self.jitter(0.0, max_backoff(failures, self.backoff, self.longest_backoff))


class ReflectorMetrics(Protocol):
    """What a reflector tells of itself."""

    def listed(self, resource: Resource, objects: int, seconds: float) -> None:
        """A complete list was taken."""

    def event(self, resource: Resource, kind: str) -> None:
        """A watch event came: ADDED, MODIFIED, DELETED or BOOKMARK."""

    def failed(self, resource: Resource, error: ClusterError) -> None:
        """A list or a watch failed, and will be tried again."""


class _NoMetrics:
    def listed(self, resource: Resource, objects: int, seconds: float) -> None:
        pass

    def event(self, resource: Resource, kind: str) -> None:
        pass

    def failed(self, resource: Resource, error: ClusterError) -> None:
        pass


class Reflector(Generic[T]):
    """The objects of one kind, as ``parse`` reads them; each difference is told to ``on_change``.

    ``on_change`` is called when ``items`` already shows the change, and on a list the whole of it. An object that
    ``parse`` or ``on_change`` raises on is logged and keeps its previous state.
    """

    def __init__(
        self,
        api: Api,
        resource: Resource,
        parse: Callable[[Document], T],
        on_change: Callable[[Change[T]], None],
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
        self._view = view = View(parse, on_change)
        self._takes = {"ADDED": view.put, "MODIFIED": view.put, "DELETED": view.drop, "BOOKMARK": view.mark}
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._timing = timing
        self._metrics = metrics or _NoMetrics()
        self._synced = asyncio.Event()
        self._must_list = True
        self._current_at = -math.inf
        self._fruitless = 0  # watches in a row that were taken and brought nothing
        self._taken_at = math.inf
        begin, end = f"{resource.plural} cannot be watched", f"watching {resource.plural} again"
        self._outage = OutageLog(log, begin, end, timing.settled)

    @property
    def items(self) -> Mapping[Key, T]:
        """All objects, read-only; empty until synced."""
        return self._view.items

    @property
    def synced(self) -> bool:
        """Whether a first complete list was taken."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        """Wait for the first complete list, and for ``on_change`` to have been told of it."""
        await self._synced.wait()

    def age(self) -> float:
        """Seconds since the view was last known to be current, infinite before the first list."""
        return since_boot() - self._current_at

    async def run(self) -> NoReturn:
        """Keep the view current until cancelled, through every :class:`~backendpool.errors.ClusterError`."""
        while True:
            failure = await self._attempt()
            if failure:
                await self._pause(failure)

    async def _attempt(self) -> ClusterError | None:
        """List if need be, then watch to the end; returns what makes that a failure, None where nothing does."""
        listed = self._must_list or self._fruitless >= _FRUITLESS
        self._taken_at = math.inf
        try:
            if listed:
                await self._list()
            await self._watch(listed)
        except (Unreachable, TooManyRequests) as error:
            # Nothing is lost by an outage, and who lists after it does so together with all others.
            return error
        except ClusterError as error:
            self._must_list = True
            # After an outage the version is too old: no reason to wait.
            return None if isinstance(error, Gone) and (self._lived() or not listed) else error
        return None

    async def _list(self) -> None:
        begun = since_boot()
        found: dict[Key, T | None] = {}
        token = ""
        while True:
            page = await self._api.list_page(
                self._resource,
                self._namespace,
                label_selector=self._label_selector,
                field_selector=self._field_selector,
                continue_token=token,
            )
            found |= self._view.read(page["items"])
            token = page["metadata"].get("continue", "")
            if not token:
                break
        self._metrics.listed(self._resource, len(found), since_boot() - begun)
        self._view.replace(found, version_of(page))
        self._saw(begun)  # all pages are as of the first one
        self._must_list = False
        self._synced.set()

    async def _watch(self, listed: bool) -> None:
        events = self._api.watch(
            self._resource,
            self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            resource_version=self._view.version,
            stall_seconds=self._timing.stall,
        )
        async with aclosing(events):
            await anext(events)
            self._taken_at = since_boot()
            self._fruitless += 1
            if listed:
                self._works()
            async for event in events:
                self._take(event)
        if self._fruitless or not self._lived():
            raise Unreachable(f"the watch on {self._resource.plural} was closed before it was of use")

    def _lived(self) -> bool:
        """Whether the watch was there for long enough for its end to be one by time limit."""
        return since_boot() - self._taken_at >= self._timing.settled

    def _take(self, event: Document) -> None:
        kind, obj = event["type"], event["object"]
        self._metrics.event(self._resource, kind)
        if self._takes[kind](obj):
            self._saw(since_boot())
            self._works()

    def _saw(self, at: float) -> None:
        """The view is what there was ``at`` that time: the API server itself said so."""
        self._current_at = at
        self._fruitless = 0

    def _works(self) -> None:
        """A watch was taken, and what is known by then is proved current."""
        self.problem = None
        self._outage.record_success()

    async def _pause(self, error: ClusterError) -> None:
        self.problem = error
        self._outage.record_failure(error)
        self._metrics.failed(self._resource, error)
        wish = (error.retry_after or 0.0) if isinstance(error, ApiError) else 0.0
        await self._timing.sleep(wish + self._timing.pause(self._outage.failures))

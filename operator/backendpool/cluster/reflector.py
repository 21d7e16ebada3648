"""A view of a part of the cluster that keeps itself current: list once, then watch, for ever.

The rules are those of the API's own clients. A watch goes on from the last resource version that was seen, and
bookmarks keep that version young. A version that is too old (410) means listing again, and only what then differs
from the view is told. Between a view that is old and none, the old one is kept: whatever fails, the view stays
as it was until a complete list replaces it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, NoReturn, Protocol, TypeVar

from backendpool.cluster.api import Api
from backendpool.cluster.call import Document
from backendpool.cluster.resources import Resource
from backendpool.cluster.view import Change, Key, View
from backendpool.errors import ApiError, ClusterError, Gone, TooManyRequests, Unreachable

log = logging.getLogger(__name__)

T = TypeVar("T")

__all__ = ["Change", "Key", "Reflector", "ReflectorMetrics", "ReflectorTiming"]


@dataclass(frozen=True, slots=True)
class ReflectorTiming:
    """All in seconds.

    ``stall`` is how long a watch may be silent: the API server sends a bookmark about once a minute.
    ``settled`` is how long one must live for its end to be no failure. Failures in a row are followed
    by pauses of up to ``backoff``, twice that, and so on up to ``longest_backoff``, with full jitter: so much
    longer than the API server itself may a view be stale.
    """

    stall: float = 90.0
    settled: float = 5.0
    backoff: float = 0.5
    longest_backoff: float = 10.0
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    jitter: Callable[[float, float], float] = random.uniform

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        return self.jitter(0.0, min(self.backoff * 2.0 ** min(failures - 1, 16), self.longest_backoff))


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

    ``on_change`` is called when ``items`` already shows the change, and on a list the whole of it. What
    it raises ends :meth:`run`. An object that ``parse`` raises on stays as it was before.
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
        self._view = View(parse, on_change)
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._timing = timing
        self._metrics = metrics or _NoMetrics()
        self._synced = asyncio.Event()
        self._version = ""  # to watch from; empty where a list is needed first
        self._current_at = -math.inf
        self._failures = 0
        self._settled = False
        self._reported: tuple[object, ...] | None = None

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
        return time.monotonic() - self._current_at

    async def run(self) -> NoReturn:
        """Keep the view current until cancelled, through every :class:`~backendpool.errors.ClusterError`."""
        while True:
            resumed = bool(self._version)
            failure = await self._attempt()
            if not self._is_ordinary(failure, resumed):
                await self._pause(failure or Unreachable(f"the watch on {self._resource.plural} was closed at once"))

    async def _attempt(self) -> ClusterError | None:
        """List if need be, then watch to the end; returns what ended it, None if the server just closed it."""
        self._settled = False
        try:
            if not self._version:
                await self._list()
            await self._watch()
        except (Unreachable, TooManyRequests) as error:
            return error
        except ClusterError as error:
            self._version = ""
            return error
        return None

    def _is_ordinary(self, failure: ClusterError | None, resumed: bool) -> bool:
        """Watches end by time limit, and after an outage the version is too old: no reason to wait."""
        if failure is None:
            return self._settled
        return isinstance(failure, Gone) and (self._settled or resumed)

    async def _list(self) -> None:
        begun = time.monotonic()
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
        self._metrics.listed(self._resource, len(found), time.monotonic() - begun)
        self._view.replace(found)
        self._saw(page["metadata"]["resourceVersion"])
        self._synced.set()

    async def _watch(self) -> None:
        events = self._api.watch(
            self._resource,
            self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            resource_version=self._version,
            stall_seconds=self._timing.stall,
        )
        async with aclosing(events):
            self._saw((await anext(events))["object"]["metadata"]["resourceVersion"])
            self.problem = None
            settling = asyncio.get_running_loop().call_later(self._timing.settled, self._settle)
            try:
                async for event in events:
                    self._take(event)
            finally:
                settling.cancel()

    def _take(self, event: Document) -> None:
        kind, obj = event["type"], event["object"]
        self._metrics.event(self._resource, kind)
        if kind in ("ADDED", "MODIFIED"):
            self._view.put(obj)
        elif kind == "DELETED":
            self._view.drop(obj)
        self._saw(obj["metadata"]["resourceVersion"])

    def _saw(self, version: str) -> None:
        self._version = version
        self._current_at = time.monotonic()

    def _settle(self) -> None:
        """The watch has lived long enough to forget the failures before it."""
        if self._reported:
            log.info("watching %s again", self._resource.plural)
        self._settled, self._failures, self._reported = True, 0, None

    async def _pause(self, error: ClusterError) -> None:
        self.problem = error
        self._failures += 1
        self._metrics.failed(self._resource, error)
        sort = (type(error), error.status if isinstance(error, ApiError) else None)
        if sort != self._reported:
            log.warning("%s cannot be watched, trying again: %s", self._resource.plural, error)
        self._reported = sort
        wish = (error.retry_after or 0.0) if isinstance(error, ApiError) else 0.0
        await self._timing.sleep(wish + self._timing.pause(self._failures))

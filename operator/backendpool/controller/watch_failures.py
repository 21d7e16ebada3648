"""Watches that the API server persistently forbids, for the conditions of pools whose data may be stale.

Outages do not count: no status can be written during one, and most are short.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from backendpool.controller.informers import Informer
from backendpool.errors import Forbidden, Unauthorized
from backendpool.k8s.resources import Resource
from backendpool.runtime.clock import since_boot


@dataclass(frozen=True, slots=True)
class WatchFailureTiming:
    """In seconds: a failure is persistent after ``persistent_after``; informers are checked each ``interval``.

    A rotated token or a role that is applied again may cause a failure or two.
    """

    persistent_after: float = 15.0
    interval: float = 3.0
    clock: Callable[[], float] = since_boot
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep


class PersistentWatchFailures:
    """Tracks the kinds whose ``informers`` fail persistently (``errors``); calls ``changed`` when they change."""

    def __init__(
        self,
        informers: Mapping[Resource, Informer],
        changed: Callable[[], None],
        timing: WatchFailureTiming = WatchFailureTiming(),
    ) -> None:
        self.errors: Mapping[str, str] = {}
        self._informers = informers
        self._changed = changed
        self._timing = timing

    async def run(self) -> NoReturn:
        """Check the informers until cancelled."""
        since: dict[str, float] = {}
        while True:
            now, errors = self._timing.clock(), self._current_errors()
            since = {kind: since.get(kind, now) for kind in errors}
            persistent = {
                kind: error for kind, error in errors.items() if now - since[kind] >= self._timing.persistent_after
            }
            if persistent.keys() != self.errors.keys():
                self.errors = persistent
                self._changed()
            await self._timing.sleep(self._timing.interval)

    def _current_errors(self) -> dict[str, str]:
        problems = {resource.kind: informer.problem for resource, informer in self._informers.items()}
        return {kind: str(error) for kind, error in problems.items() if isinstance(error, Forbidden | Unauthorized)}

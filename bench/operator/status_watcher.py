"""Watches the statuses of pools, as their clients would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from backendpool.k8s.client import Api
from backendpool.k8s.reflector import Reflector
from backendpool.k8s.resources import POOLS

_LONGEST_WAIT = 300.0
_AT_REST = {("EndpointsAvailable", "True"), ("Reconciling", "False"), ("Stalled", "False")}


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """Fields of a status; ``ready`` means reconciled with a ready endpoint."""

    pool: str
    revision: str
    ready: bool
    listed: int
    total: int
    truncated: bool


class StatusWatcher:
    """The statuses of all pools in a namespace; created by :func:`watching`."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._waiting: dict[tuple[str, str], asyncio.Future[float]] = {}
        self.reflector: Reflector[PoolStatus] = Reflector(api, POOLS, _parse, self._on_change, namespace=namespace)
        self._namespace = namespace

    def of(self, pool: str) -> PoolStatus:
        """Return the latest status of ``pool``."""
        return self.reflector.items[self._namespace, pool]

    def expect(self, pool: str, revision: str) -> asyncio.Future[float]:
        """Return a future that completes when ``pool`` is ready with ``revision``, with the event loop's time."""
        loop = asyncio.get_running_loop()
        future = self._waiting.setdefault((pool, revision), loop.create_future())
        seen = self.reflector.items.get((self._namespace, pool))
        if seen and seen.ready and seen.revision == revision:
            self._arrived(pool, revision)
        return future

    def _on_change(self, old: PoolStatus | None, new: PoolStatus | None) -> None:
        if new and new.ready:
            self._arrived(new.pool, new.revision)

    def _arrived(self, pool: str, revision: str) -> None:
        future = self._waiting.pop((pool, revision), None)
        if future and not future.done():
            future.set_result(asyncio.get_running_loop().time())


@asynccontextmanager
async def watching(api: Api, namespace: str) -> AsyncIterator[StatusWatcher]:
    """Watch the namespace while the context lasts."""
    view = StatusWatcher(api, namespace)
    task = asyncio.create_task(view.reflector.run())
    try:
        await view.reflector.wait_synced()
        yield view
    finally:
        task.cancel()


async def all_of(expected: Iterable[asyncio.Future[float]]) -> float:
    """Return the latest of the times; raises TimeoutError after five minutes."""
    async with asyncio.timeout(_LONGEST_WAIT):
        return max(await asyncio.gather(*expected))


def _parse(obj: dict[str, Any]) -> PoolStatus:
    status = obj.get("status") or {}
    return PoolStatus(
        pool=obj["metadata"]["name"],
        revision=status.get("revision", ""),
        # Not Ready, which a pool is not whose lookaside is kept from running.
        ready=_AT_REST.issubset((c["type"], c["status"]) for c in status.get("conditions") or ()),
        listed=len(status.get("endpoints") or ()),
        total=status.get("total", 0),
        truncated=bool(status.get("truncated")),
    )

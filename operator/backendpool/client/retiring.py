"""Backends that get no calls any more: those that they have finish, and their counts are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

from backendpool.client.channels import Backend

_SLACK: Final = 1.0
"""Seconds that a channel may take to close beyond its grace."""


class Retiring:
    """To be made in a running event loop, and ended by :meth:`aclose`."""

    def __init__(self) -> None:
        self._closing: dict[asyncio.Task[None], Backend] = {}
        self._picked = self._failed = 0  # by those that are gone

    def retire(self, backend: Backend, grace: float) -> None:
        """Close ``backend``; calls under way have ``grace`` seconds to finish."""
        task = asyncio.create_task(backend.close(grace))
        self._closing[task] = backend
        task.add_done_callback(self._closed)

    def totals(self, there: Collection[Backend]) -> tuple[int, int]:
        """Attempts, and those that failed, of these backends and of all that were retired."""
        counted = (*there, *self._closing.values())
        return self._picked + sum(one.picked for one in counted), self._failed + sum(one.failed for one in counted)

    async def aclose(self, grace: float) -> None:
        """Wait until all are closed, for ``grace`` seconds at most; calls that are not done then are cancelled."""
        if not self._closing:
            return
        _, late = await asyncio.wait(self._closing, timeout=grace + _SLACK)
        channels = [self._closing[task].channel for task in late]
        for task in late:
            task.cancel()
        await asyncio.gather(*(channel.close() for channel in channels))

    def _closed(self, closing: asyncio.Task[None]) -> None:
        backend = self._closing.pop(closing)
        self._picked += backend.picked
        self._failed += backend.failed

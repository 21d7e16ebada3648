"""Resolver of an async iterator: the application's own service discovery."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable
from typing import NoReturn, TypeAlias

from backendpool.api.endpoints import EndpointSet
from backendpool.api.pool import PoolView
from backendpool.client._resolvers.resolver import FreshnessTracker, OnView
from backendpool.errors import SourceError
from backendpool.runtime.logs import FieldLogger

log = FieldLogger(logging.getLogger(__name__))

Views: TypeAlias = AsyncIterable[EndpointSet | PoolView] | AsyncIterable[EndpointSet] | AsyncIterable[PoolView]
"""Yields the pool at each change; an :class:`EndpointSet` gets the default load balancing."""


class IteratorResolver:
    """Follows ``views``; an item that equals the one before only resets the age.

    After the last item or an error, which becomes ``problem``, the last view stays in effect for good.
    """

    def __init__(self, views: Views, on_view: OnView) -> None:
        self.problem: SourceError | None = None
        self._views = views
        self._freshness = FreshnessTracker(on_view)

    def age(self) -> float:
        """Return the seconds since the last item; infinite before the first."""
        return self._freshness.age()

    async def run(self) -> NoReturn:
        """Follow the iterator until cancelled, and wait once it has ended or failed."""
        try:
            async for item in self._views:
                self._freshness.update(PoolView(item) if isinstance(item, EndpointSet) else item)
        # The application's code may raise anything. Calls go on, since the last view is still in effect.
        except Exception as error:
            self.problem = SourceError(f"the iterator of endpoints failed: {error!r}")
            log.exception("The iterator of endpoints failed, keeping the last endpoints", extra={"error": repr(error)})
        await asyncio.Event().wait()
        raise AssertionError("the event is never set")

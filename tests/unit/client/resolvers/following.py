"""A running resolver and the views that it reports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from backendpool.api.pool import PoolView
from backendpool.client._resolvers.resolver import OnView, Resolver
from tests.fakes.until import until


class Told:
    """The pool views that a resolver reports, in order."""

    def __init__(self, make: Callable[[OnView], Resolver]) -> None:
        self.views: list[PoolView | None] = []
        self.source = make(self.views.append)

    async def count(self, count: int) -> list[PoolView | None]:
        """Wait for ``count`` views and return all."""
        await until(lambda: len(self.views) >= count)
        return self.views

    async def problem(self) -> str:
        """Wait for a problem and return it."""
        await until(lambda: self.source.problem is not None)
        return str(self.source.problem)


@asynccontextmanager
async def following(make: Callable[[OnView], Resolver]) -> AsyncIterator[Told]:
    """Run a resolver while the context lasts; it must not return earlier."""
    told = Told(make)
    task = asyncio.create_task(told.source.run())
    try:
        yield told
        assert not task.done(), "it never returns"
    finally:
        task.cancel()
        await asyncio.wait([task])

"""A source, followed in the background."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from backendpool.client.resolvers import Source
from backendpool.errors import BackendPoolError


class Following:
    """Runs ``source`` from :meth:`start` to :meth:`stop`; ``failed`` is told why where it cannot be run at all."""

    def __init__(self, source: AbstractAsyncContextManager[Source], failed: Callable[[Exception], None]) -> None:
        self._context = source
        self._failed = failed
        self._source: Source | None = None
        self._fault: Exception | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def problem(self) -> Exception | None:
        """Why the pool cannot be followed at the moment."""
        return self._fault or (self._source.problem if self._source is not None else None)

    def age(self) -> float:
        """Seconds since what was told was last known to be current, infinite before the first answer."""
        return self._source.age() if self._source is not None else math.inf

    def start(self) -> None:
        """To be called once, in a running event loop."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            async with self._context as self._source:
                await self._source.run()
        except BackendPoolError as error:
            self._fault = error
            self._failed(error)

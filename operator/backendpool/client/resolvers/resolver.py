"""What a source is, and what all sources have in common."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

from backendpool.api.pool import PoolView
from backendpool.errors import BackendPoolError
from backendpool.runtime.clock import since_boot

OnView: TypeAlias = Callable[[PoolView | None], None]
"""Told the pool as it is now, and at each change; None where there is none that may be read."""


class Source(Protocol):
    """Where a client's endpoints come from. What was told last stands until something else is told."""

    @property
    def problem(self) -> Exception | None:
        """Why the pool cannot be followed at the moment; None where it is."""

    def age(self) -> float:
        """Seconds since what was told was last known to be current, infinite before that was so for the first time."""

    async def run(self) -> None:
        """Follow the pool until cancelled; nothing that goes wrong at the other end ends it."""


class Knowledge:
    """What was told, and how long ago it was known to be current."""

    def __init__(self, on_view: OnView) -> None:
        self._on_view = on_view
        self._view: PoolView | None = None
        self._told = False
        self._current_at = -math.inf

    def age(self) -> float:
        """As :meth:`Source.age`."""
        return since_boot() - self._current_at

    def learn(self, view: PoolView, age: float = 0.0) -> None:
        """The pool was so ``age`` seconds ago; told if it is another than before."""
        self.confirm(age)
        if view != self._view:
            self._view, self._told = view, True
            self._on_view(view)

    def confirm(self, age: float = 0.0) -> None:
        """What was learnt last was still so ``age`` seconds ago."""
        self._current_at = since_boot() - age

    def miss(self) -> None:
        """There is no pool that may be read. Nobody is told who was told of one: knowledge that is old beats none."""
        if not self._told:
            self._told = True
            self._on_view(None)


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

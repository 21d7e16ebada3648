"""What all resolvers share: their protocol, the age of what they reported, and the task that runs one."""

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
"""Called with the pool as it is now, and at each change; with None if there is no pool that may be read."""


class Resolver(Protocol):
    """A source of a client's endpoints. The last view stays in effect until another one is reported."""

    @property
    def problem(self) -> Exception | None:
        """Why the pool cannot be followed at the moment, or None."""

    def age(self) -> float:
        """Return the seconds since the view was last known to be current; infinite before the first."""

    async def run(self) -> None:
        """Follow the pool until cancelled; retry whatever fails at the other end."""


class FreshnessTracker:
    """Reports each changed view to ``on_view``, and tracks when the view was last known to be current."""

    def __init__(self, on_view: OnView) -> None:
        self._on_view = on_view
        self._view: PoolView | None = None
        self._reported = False
        self._current_at = -math.inf

    def age(self) -> float:
        """As :meth:`Resolver.age`."""
        return since_boot() - self._current_at

    def update(self, view: PoolView, age: float = 0.0) -> None:
        """Record that the pool was ``view`` ``age`` seconds ago, and report it if it changed."""
        self.confirm(age)
        if view != self._view:
            self._view, self._reported = view, True
            self._on_view(view)

    def confirm(self, age: float = 0.0) -> None:
        """Record that the last view was still current ``age`` seconds ago."""
        self._current_at = since_boot() - age

    def not_found(self) -> None:
        """Report None, unless a view was reported before: a stale view is better than none."""
        if not self._reported:
            self._reported = True
            self._on_view(None)


class ResolverTask:
    """Runs a resolver in the background; ``on_error`` is called if it cannot be run at all."""

    def __init__(self, resolver: AbstractAsyncContextManager[Resolver], on_error: Callable[[Exception], None]) -> None:
        self._context = resolver
        self._on_error = on_error
        self._resolver: Resolver | None = None
        self._error: Exception | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def problem(self) -> Exception | None:
        """As :attr:`Resolver.problem`, or the error that kept the resolver from running."""
        return self._error or (self._resolver.problem if self._resolver is not None else None)

    def age(self) -> float:
        """As :meth:`Resolver.age`."""
        return self._resolver.age() if self._resolver is not None else math.inf

    def start(self) -> None:
        """Start the resolver, once, in a running event loop."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            async with self._context as self._resolver:
                await self._resolver.run()
        except BackendPoolError as error:
            self._error = error
            self._on_error(error)

"""A reflector at work on a scripted server, for tests to look at."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from backendpool.errors import ClusterError
from backendpool.k8s.client import Api
from backendpool.k8s.reflector import Change, Reflector, ReflectorTiming
from backendpool.k8s.resources import ENDPOINT_SLICES, Resource
from tests.fakes.until import until

A, B, C = ("ns", "a"), ("ns", "b"), ("ns", "c")


@dataclass
class Run:
    """A reflector at work: what it told, how it paused, and its figures."""

    changes: list[Change[int]] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    figures: list[object] = field(default_factory=list)
    reflector: Reflector[int] = field(init=False)
    task: asyncio.Task[Any] = field(init=False)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    def listed(self, resource: Resource, objects: int, seconds: float) -> None:
        assert seconds >= 0
        self.figures.append((resource, objects))

    def event(self, resource: Resource, kind: str) -> None:
        self.figures.append((resource, kind))

    def failed(self, resource: Resource, error: ClusterError) -> None:
        self.figures.append((resource, type(error)))

    async def told(self, count: int) -> list[Change[int]]:
        """The first ``count`` changes."""
        await until(lambda: len(self.changes) >= count)
        return self.changes[:count]

    async def noted(self, figure: object) -> None:
        """Wait for a figure."""
        await until(lambda: (ENDPOINT_SLICES, figure) in self.figures)

    @property
    def contents(self) -> dict[str, int]:
        return {name: value for (_, name), value in self.reflector.items.items()}


@asynccontextmanager
async def reflecting(
    api: Api,
    *,
    on_change: Callable[[Change[int]], None] | None = None,
    settled: float = 60.0,
    stall: float = 5.0,
    label_selector: str = "",
) -> AsyncIterator[Run]:
    """Jitter is at its largest, pauses are noted and not waited for."""
    run = Run()
    run.reflector = Reflector(
        api,
        ENDPOINT_SLICES,
        lambda obj: int(obj["value"]),
        on_change or run.changes.append,
        namespace="ns",
        label_selector=label_selector,
        timing=ReflectorTiming(stall=stall, settled=settled, sleep=run.sleep, jitter=lambda low, high: high),
        metrics=run,
    )
    run.task = asyncio.create_task(run.reflector.run())
    try:
        yield run
        assert not run.task.done(), "it never returns"
    finally:
        run.task.cancel()
        await asyncio.wait([run.task])

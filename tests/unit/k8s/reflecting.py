"""Runs a reflector against a scripted server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from backendpool.errors import ClusterError
from backendpool.k8s.client import Api
from backendpool.k8s.reflector import Reflector, ReflectorMetrics, ReflectorTiming
from backendpool.k8s.resources import ENDPOINT_SLICES, Resource
from backendpool.k8s.store import Key, OnChange
from tests.fakes.until import until

A, B, C = ("ns", "a"), ("ns", "b"), ("ns", "c")


class Item(NamedTuple):
    """A parsed object."""

    key: Key
    value: int


class Change(NamedTuple):
    """A call of ``on_change``."""

    key: Key
    old: int | None
    new: int | None


def parse(obj: dict[str, Any]) -> Item:
    return Item((obj["metadata"]["namespace"], obj["metadata"]["name"]), int(obj["value"]))


def change_of(old: Item | None, new: Item | None) -> Change:
    either = new or old
    assert either
    return Change(either.key, old.value if old else None, new.value if new else None)


def noted(use: Callable[[Change], object]) -> OnChange[Item]:
    """Return an ``on_change`` that passes a :class:`Change` on."""

    def on_change(old: Item | None, new: Item | None) -> None:
        use(change_of(old, new))

    return on_change


@dataclass
class Run(ReflectorMetrics):
    """A running reflector: its changes, delays and metrics. Its clock stands still unless a test changes ``now``."""

    changes: list[Change] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    now: float = 1000.0
    figures: list[object] = field(default_factory=list)
    reflector: Reflector[Item] = field(init=False)
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

    async def told(self, count: int) -> list[Change]:
        """Return the first ``count`` changes."""
        await until(lambda: len(self.changes) >= count)
        return self.changes[:count]

    async def noted(self, figure: object) -> None:
        """Wait for a metric."""
        await until(lambda: (ENDPOINT_SLICES, figure) in self.figures)

    @property
    def contents(self) -> dict[str, int]:
        return {name: item.value for (_, name), item in self.reflector.items.items()}


@asynccontextmanager
async def reflecting(
    api: Api,
    *,
    on_change: Callable[[Change], object] | None = None,
    healthy_after: float = 60.0,
    idle_timeout: float = 5.0,
    label_selector: str = "",
) -> AsyncIterator[Run]:
    """Run a reflector; jitter is at its maximum, and delays are recorded instead of waited for."""
    run = Run()
    run.reflector = Reflector(
        api,
        ENDPOINT_SLICES,
        parse,
        noted(on_change or run.changes.append),
        namespace="ns",
        label_selector=label_selector,
        timing=ReflectorTiming(
            idle_timeout=idle_timeout,
            healthy_after=healthy_after,
            sleep=run.sleep,
            jitter=lambda low, high: high,
            clock=lambda: run.now,
        ),
        metrics=run,
    )
    run.task = asyncio.create_task(run.reflector.run())
    try:
        yield run
        assert not run.task.done(), "it never returns"
    finally:
        run.task.cancel()
        await asyncio.wait([run.task])

"""Following an async iterator of the application."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator

import pytest

from backendpool.api.endpoints import EndpointSet
from backendpool.api.load_balancing import LoadBalancing, Policy
from backendpool.api.pool import PoolView
from backendpool.client._resolvers.iterator import IteratorResolver
from tests.fakes.objects import pool_view
from tests.fakes.until import until
from tests.unit.client.resolvers.following import following

ONE, TWO = pool_view("192.0.2.1"), pool_view("192.0.2.1", "192.0.2.2")


class Discovery:
    """Yields the items that a test puts in, and raises those that are exceptions."""

    def __init__(self) -> None:
        self.items: asyncio.Queue[EndpointSet | PoolView | Exception | None] = asyncio.Queue()
        self.closed = False

    async def views(self) -> AsyncIterator[EndpointSet | PoolView]:
        try:
            while (item := await self.items.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.closed = True


@pytest.fixture
def discovery() -> Discovery:
    return Discovery()


async def test_tells_each_item_that_differs(discovery: Discovery) -> None:
    """Each different item is reported; a bare endpoint set gets the default policies."""
    random = PoolView(ONE.endpoints, LoadBalancing(Policy.RANDOM))
    for item in (ONE.endpoints, ONE, random, random, TWO):
        discovery.items.put_nowait(item)
    async with following(lambda on_view: IteratorResolver(discovery.views(), on_view)) as told:
        assert await told.count(3) == [ONE, random, TWO]
    assert discovery.closed


async def test_an_item_makes_young(discovery: Discovery) -> None:
    """Every item resets the age, even an equal one."""
    async with following(lambda on_view: IteratorResolver(discovery.views(), on_view)) as told:
        assert math.isinf(told.source.age())
        discovery.items.put_nowait(ONE)
        await told.count(1)
        before = told.source.age()
        await asyncio.sleep(0.01)
        assert told.source.age() > before + 0.005
        waited = told.source.age()
        discovery.items.put_nowait(ONE)
        await until(lambda: told.source.age() < waited)
        assert told.views == [ONE]


@pytest.mark.parametrize(
    ("end", "problem"), [(None, None), (OSError("no"), "the iterator of endpoints failed: OSError('no')")]
)
async def test_last_item_stands_at_the_end(end: Exception | None, problem: str | None, discovery: Discovery) -> None:
    """When the iterator ends or raises, the last item stays in effect and the error is reported."""
    discovery.items.put_nowait(ONE)
    discovery.items.put_nowait(end)
    async with following(lambda on_view: IteratorResolver(discovery.views(), on_view)) as told:
        await until(lambda: discovery.closed)
        assert told.views == [ONE]
        assert (str(told.source.problem) if told.source.problem else None) == problem

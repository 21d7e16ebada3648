"""The age of cached data, whatever the wall clock does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from backendpool.client._resolvers.pool import PoolResolver
from backendpool.controller.cache import Cache
from backendpool.controller.resync import PoolResync, ResyncTiming
from backendpool.k8s.client import Api
from backendpool.k8s.reflector import Reflector
from backendpool.k8s.resources import ENDPOINT_SLICES
from backendpool.lookaside.informers import EndpointInformer
from tests.fakes.api_server import ApiServer
from tests.fakes.clock import HOUR, FakeClock, WallClock
from tests.fakes.until import until


class View(Protocol):
    """A cache and its age."""

    def run(self) -> Awaitable[Any]: ...

    def age(self) -> float: ...


VIEWS: dict[str, Callable[[Api], View]] = {
    "operator": lambda api: Reflector(api, ENDPOINT_SLICES, dict, lambda old, new: None, namespace="default"),
    "lookaside": lambda api: EndpointInformer(api, "default", "greetserver", lambda: None),
    "client": lambda api: PoolResolver(api, "default", "greetserver", lambda view: None),
    "sweep": lambda api: PoolResync(
        api,
        Cache(lambda key: None, FakeClock().call_later),
        None,
        lambda error: None,
        lambda stall: None,
        ResyncTiming(),
    ),
}


@asynccontextmanager
async def followed(view: View) -> AsyncIterator[None]:
    """Yield a cache once it has synced."""
    following = asyncio.create_task(asyncio.wait_for(view.run(), 60))
    try:
        await until(lambda: view.age() <= HOUR)
        yield
    finally:
        following.cancel()
        await asyncio.wait([following])


@pytest.mark.parametrize("make", VIEWS.values(), ids=VIEWS)
async def test_age_does_not_jump(make: Callable[[Api], View], wall_clock: WallClock, tmp_path: Path) -> None:
    """Setting the wall clock does not change an age; during an outage, ages grow."""
    server = ApiServer()
    async with server.connected(tmp_path) as api:
        view = make(api)
        async with followed(view):
            server.go_away()
            for jump in (HOUR, -2 * HOUR, -30 * 24 * HOUR, 61 * 24 * HOUR):
                wall_clock.move(jump)
                before = view.age()
                await asyncio.sleep(0.01)
                assert 0 <= before < view.age() < 60


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="only Linux stops its monotonic clock while it sleeps")
@pytest.mark.parametrize("make", VIEWS.values(), ids=VIEWS)
async def test_view_ages_while_the_machine_sleeps(
    make: Callable[[Api], View], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Time in suspension counts toward an age."""
    server = ApiServer()
    async with server.connected(tmp_path) as api:
        view = make(api)
        async with followed(view):
            real = time.clock_gettime
            asleep = {time.CLOCK_BOOTTIME: 24 * HOUR}
            monkeypatch.setattr(time, "clock_gettime", lambda clock: real(clock) + asleep.get(clock, 0.0))
            assert view.age() >= 24 * HOUR

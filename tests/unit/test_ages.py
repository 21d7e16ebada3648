"""How old a view is, whatever the wall clock says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from backendpool.client.source import PoolSource
from backendpool.cluster.api import Api
from backendpool.cluster.reflector import Reflector
from backendpool.cluster.resources import ENDPOINT_SLICES
from backendpool.lookaside.view import EndpointView
from tests.unit.api_server import ApiServer
from tests.unit.wall_clock import HOUR, WallClock


class View(Protocol):
    """What is kept current, and how long ago it was known to be."""

    def run(self) -> Awaitable[Any]: ...

    def age(self) -> float: ...


VIEWS: dict[str, Callable[[Api], View]] = {
    "operator": lambda api: Reflector(api, ENDPOINT_SLICES, dict, lambda change: None, namespace="default"),
    "lookaside": lambda api: EndpointView(api, "default", "greetserver"),
    "client": lambda api: PoolSource(api, "default", "greetserver", lambda view: None),
}


@pytest.mark.parametrize("make", VIEWS.values(), ids=VIEWS)
async def test_age_does_not_jump(make: Callable[[Api], View], wall_clock: WallClock, tmp_path: Path) -> None:
    """A clock that is set, forth or back, makes no view older nor younger; an outage makes it age on."""
    server = ApiServer()
    async with server.connected(tmp_path) as api:
        view = make(api)
        following = asyncio.create_task(asyncio.wait_for(view.run(), 60))
        try:
            async with asyncio.timeout(10):
                while view.age() > HOUR:
                    await asyncio.sleep(0.005)
            server.go_away()
            for jump in (HOUR, -2 * HOUR, -30 * 24 * HOUR, 61 * 24 * HOUR):
                wall_clock.move(jump)
                before = view.age()
                await asyncio.sleep(0.01)
                assert 0 <= before < view.age() < 60
        finally:
            following.cancel()
            await asyncio.wait([following])

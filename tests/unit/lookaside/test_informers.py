"""What the lookaside answers from, between an API server and nobody who asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from backendpool.api import endpoint_slices
from backendpool.k8s.client import Api
from backendpool.lookaside.informers import EndpointView
from tests.fakes.api_server import ApiServer
from tests.fakes.until import until
from tests.unit.lookaside.slices import endpoint_slice


@pytest.fixture
def cluster() -> ApiServer:
    server = ApiServer()
    server.put(endpoint_slice("10.0.0.1", "10.0.0.2", name="one"))
    server.put(endpoint_slice("10.0.0.3", name="two"))
    return server


@pytest.fixture
async def api(cluster: ApiServer, tmp_path: Path) -> AsyncIterator[Api]:
    async with cluster.connected(tmp_path) as connected:
        yield connected


@asynccontextmanager
async def viewing(api: Api) -> AsyncIterator[EndpointView]:
    view = EndpointView(api, "default", "greetserver", lambda: None)
    following = asyncio.create_task(view.run())
    try:
        await view.wait_synced()
        yield view
    finally:
        following.cancel()
        await asyncio.wait([following])


def addresses(view: EndpointView) -> list[str]:
    found = view.endpoints()
    return [endpoint.address for endpoint in found.endpoints] if found else []


def never_without(listed: list[str], address: str) -> bool:
    assert address in listed
    return True


async def test_endpoint_that_moves_stays_listed(cluster: ApiServer, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told first that it left its slice, then that it joined another, the view never answers without it."""
    monkeypatch.setattr(endpoint_slices, "SETTLE_SECONDS", 60.0)
    async with viewing(api) as view:
        cluster.put(endpoint_slice("10.0.0.2", "10.0.0.8", name="one"))
        await until(lambda: never_without(addresses(view), "10.0.0.1") and "10.0.0.8" in addresses(view))
        assert addresses(view) == ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.8"]
        cluster.put(endpoint_slice("10.0.0.1", "10.0.0.3", "10.0.0.9", name="two"))
        await until(lambda: never_without(addresses(view), "10.0.0.1") and "10.0.0.9" in addresses(view))
        assert addresses(view) == ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.8", "10.0.0.9"]


async def test_endpoint_that_is_gone_leaves_unasked(cluster: ApiServer, api: Api) -> None:
    """With nothing else happening, one that vanished outright is listed no more, moments later."""
    async with viewing(api) as view:
        assert addresses(view) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
        cluster.put(endpoint_slice("10.0.0.2", name="one"))
        await until(lambda: addresses(view) == ["10.0.0.2", "10.0.0.3"])


async def test_last_endpoints_are_those_of_the_end(cluster: ApiServer, api: Api) -> None:
    """When the Service is deleted the last endpoints stand, and not those that somebody asked for last."""
    async with viewing(api) as view:
        assert addresses(view) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
        cluster.put(endpoint_slice("10.0.0.7", name="one"))
        await asyncio.sleep(0.2)
        for name in ("one", "two"):
            cluster.remove("EndpointSlice", "default", name)
        await asyncio.sleep(0.2)
        assert addresses(view) == ["10.0.0.3", "10.0.0.7"]


async def test_slices_of_a_deleted_service_do_not_count(cluster: ApiServer, api: Api) -> None:
    """What is left of the Service before is nobody's, as it is to the operator."""

    def made_for(uid: str, second: int, address: str) -> dict[str, Any]:
        made = endpoint_slice(address, name=f"of-{uid}")
        made["metadata"]["ownerReferences"] = [{"kind": "Service", "name": "greetserver", "uid": uid}]
        made["metadata"]["creationTimestamp"] = f"2026-01-01T00:00:0{second}Z"
        return made

    async with viewing(api) as view:
        cluster.put(made_for("old", 1, "10.0.0.7"))
        await until(lambda: "10.0.0.7" in addresses(view))
        cluster.put(made_for("new", 2, "10.0.0.8"))
        await until(lambda: "10.0.0.8" in addresses(view))
        assert addresses(view) == ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.8"]

"""The informers of the lookaside, against an API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from backendpool.api import endpoint_slices
from backendpool.k8s.client import Api
from backendpool.lookaside.informers import EndpointInformer
from tests.fakes.api_server import ApiServer
from tests.fakes.objects import endpoint_slice
from tests.fakes.until import until


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
async def informer_of(api: Api) -> AsyncIterator[EndpointInformer]:
    informer = EndpointInformer(api, "default", "greetserver", lambda: None)
    running = asyncio.create_task(informer.run())
    try:
        await informer.wait_synced()
        yield informer
    finally:
        running.cancel()
        await asyncio.wait([running])


def addresses(informer: EndpointInformer) -> list[str]:
    found = informer.endpoints()
    return [endpoint.address for endpoint in found.endpoints] if found else []


def never_without(listed: list[str], address: str) -> bool:
    assert address in listed
    return True


async def test_endpoint_that_moves_stays_listed(cluster: ApiServer, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that moves stays listed, even if the watch reports its removal from one slice first."""
    monkeypatch.setattr(endpoint_slices, "REMOVAL_GRACE_SECONDS", 60.0)
    async with informer_of(api) as informer:
        cluster.put(endpoint_slice("10.0.0.2", "10.0.0.8", name="one"))
        await until(lambda: never_without(addresses(informer), "10.0.0.1") and "10.0.0.8" in addresses(informer))
        assert addresses(informer) == ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.8"]
        cluster.put(endpoint_slice("10.0.0.1", "10.0.0.3", "10.0.0.9", name="two"))
        await until(lambda: never_without(addresses(informer), "10.0.0.1") and "10.0.0.9" in addresses(informer))
        assert addresses(informer) == ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.8", "10.0.0.9"]


async def test_vanished_endpoint_is_removed_without_another_event(cluster: ApiServer, api: Api) -> None:
    """An endpoint is removed when its removal grace ends, without a further event."""
    async with informer_of(api) as informer:
        assert addresses(informer) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
        cluster.put(endpoint_slice("10.0.0.2", name="one"))
        await until(lambda: addresses(informer) == ["10.0.0.2", "10.0.0.3"])


async def test_last_endpoints_are_the_current_ones(cluster: ApiServer, api: Api) -> None:
    """If the Service is deleted, the endpoints before the deletion are kept, even if nobody read them before."""
    async with informer_of(api) as informer:
        assert addresses(informer) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
        cluster.put(endpoint_slice("10.0.0.7", name="one"))
        await asyncio.sleep(0.2)
        for name in ("one", "two"):
            cluster.remove("EndpointSlice", "default", name)
        await asyncio.sleep(0.2)
        assert addresses(informer) == ["10.0.0.3", "10.0.0.7"]


async def test_slices_of_a_deleted_service_are_ignored(cluster: ApiServer, api: Api) -> None:
    """Slices of an earlier Service with the same name are ignored."""

    def made_for(uid: str, second: int, address: str) -> dict[str, Any]:
        return endpoint_slice(address, name=f"of-{uid}", service_uid=uid, created=f"2026-01-01T00:00:0{second}Z")

    async with informer_of(api) as informer:
        cluster.put(made_for("old", 1, "10.0.0.7"))
        await until(lambda: "10.0.0.7" in addresses(informer))
        cluster.put(made_for("new", 2, "10.0.0.8"))
        await until(lambda: "10.0.0.8" in addresses(informer))
        assert addresses(informer) == ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.8"]

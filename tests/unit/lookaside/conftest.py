"""Fixtures of the lookaside's tests: an API server with slices of the pool greetserver, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backendpool.k8s.client import Api
from tests.fakes.api_server import ApiServer
from tests.fakes.objects import endpoint_slice


@pytest.fixture
def cluster() -> ApiServer:
    server = ApiServer()
    server.put(endpoint_slice("10.0.0.1", "10.0.0.2", "10.0.0.3"))
    return server


@pytest.fixture
async def api(cluster: ApiServer, tmp_path: Path) -> AsyncIterator[Api]:
    async with cluster.connected(tmp_path) as connected:
        yield connected

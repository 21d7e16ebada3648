"""A scripted API server, and an Api that talks to it."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from backendpool.k8s.client import Api
from tests.unit.k8s.scripted import ScriptedServer


@pytest_asyncio.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ScriptedServer]:
    # It speaks plain HTTP, and to load the system's certificates takes each client longer than most tests.
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    server = ScriptedServer()
    async with server.serving():
        yield server


@pytest_asyncio.fixture
async def api(server: ScriptedServer, tmp_path: Path) -> AsyncIterator[Api]:
    async with await Api.connect(server.kubeconfig(tmp_path, {"token": "secret"}), timeout=2) as api:
        yield api

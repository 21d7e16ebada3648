"""An API server to operate on."""

from __future__ import annotations

import os

import pytest

from tests.fakes.api_server import ApiServer
from tests.unit.controller.operators import pool


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    # It speaks plain HTTP, and to load the system's certificates takes each client longer than most tests.
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)


@pytest.fixture
def server() -> ApiServer:
    """An API server with one pool."""
    server = ApiServer()
    server.put(pool())
    return server

"""An API server for the operator under test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping

import pytest

from tests.fakes.api_server import ApiServer
from tests.fakes.autojump import loop_factories
from tests.fakes.objects import pool


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


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return loop_factories(item)

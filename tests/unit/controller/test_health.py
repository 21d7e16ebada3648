"""Liveness of the operator."""

from __future__ import annotations

import asyncio
import gc
import re
import socket
import threading
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from backendpool.controller import manager
from backendpool.k8s.resources import DEPLOYMENTS, Resource
from tests.fakes.api_server import ApiServer
from tests.fakes.until import until
from tests.unit.controller.operators import applied, as_run, operated


async def test_run_that_hangs_is_told_by_healthz(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reconcile that hangs for too long fails liveness."""
    create, hangs, free = server.create, asyncio.Event(), asyncio.Event()

    async def late(resource: Resource, obj: dict[str, Any]) -> dict[str, Any]:
        hangs.set()
        await free.wait()
        return await create(resource, obj)

    monkeypatch.setattr(server, "create", late)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    url = f"http://127.0.0.1:{port}/healthz"
    async with as_run(server, tmp_path, monkeypatch, metrics_port=port), aiohttp.ClientSession() as session:
        await asyncio.wait_for(hangs.wait(), 60)
        async with session.get(url) as response:
            assert response.status == 200
        monkeypatch.setattr(manager, "MAX_RECONCILE_SECONDS", 0.0)
        async with session.get(url) as response:
            assert response.status == 503
            assert re.fullmatch(r"a reconcile has been running for \d+ s\n", await response.text())
        free.set()


async def test_thread_of_kopf_that_hangs_is_told(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hung kopf thread fails liveness, since only a restart can replace a thread."""
    monkeypatch.setattr(manager, "MAX_THREAD_SILENCE", 0.1)
    async with server.connected(tmp_path) as api, operated(api) as operator:
        await until(lambda: applied(server))
        assert operator.liveness_error() is None
        loop, free = operator._pools.thread._loop, threading.Event()
        assert loop is not None
        loop.call_soon_threadsafe(free.wait, 60)
        hangs = "the thread that watches pools has been stuck for "
        await until(lambda: (operator.liveness_error() or "").startswith(hangs))
        free.set()
        await until(lambda: operator.liveness_error() is None)


async def test_garbage_is_not_looked_for_in_what_stays(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once all informers have synced, the cache is exempt from garbage collection."""
    frozen: list[None] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(None))
    server.held = {DEPLOYMENTS.path(): asyncio.Event()}
    async with as_run(server, tmp_path, monkeypatch):
        await until(lambda: server.watched(DEPLOYMENTS))
        await asyncio.sleep(1.1)
        assert not frozen
        server.held[DEPLOYMENTS.path()].set()
        await until(lambda: frozen)
        await asyncio.sleep(1.1)
    assert len(frozen) == 1


async def test_outage_is_no_hanging(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unreachable API server never fails liveness, however long it lasts."""
    monkeypatch.setattr(manager, "MAX_THREAD_SILENCE", 0.5)
    monkeypatch.setattr(manager, "MAX_RECONCILE_SECONDS", 0.5)
    async with server.connected(tmp_path) as api, operated(api) as operator:
        await until(lambda: applied(server))
        server.go_away()
        for _ in range(20):
            await asyncio.sleep(0.1)
            assert operator.liveness_error() is None

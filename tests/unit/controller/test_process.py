"""The operator as a process: how it exits."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

import aiohttp

from backendpool.k8s.resources import CHILD_RESOURCES, DEPLOYMENTS
from tests.fakes.api_server import ApiServer
from tests.fakes.until import until
from tests.unit.controller.operators import applied, process


async def test_sigterm_ends_it_cleanly_and_soon(server: ApiServer, tmp_path: Path) -> None:
    """After SIGTERM the operator exits quickly with code 0 and no traceback."""
    clock = asyncio.get_running_loop().time
    server.held = {DEPLOYMENTS.path(): asyncio.Event()}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    async def is_ready() -> bool:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/readyz") as response:
            return response.status == 200

    started_at = clock()
    async with server.serving(tmp_path) as kubeconfig, process(kubeconfig, port) as operator:
        await until(lambda: server.watched(DEPLOYMENTS))
        startup = clock() - started_at
        assert not await is_ready()
        server.held[DEPLOYMENTS.path()].set()
        await until(lambda: applied(server))
        await until(is_ready)
        operator.send_signal(signal.SIGTERM)
        async with asyncio.timeout(max(3, startup)):
            _, log = await operator.communicate()
    assert operator.returncode == 0
    assert b"Traceback" not in log
    assert b"ERROR" not in log


async def test_sigterm_is_heard_while_the_api_server_is_away(server: ApiServer, tmp_path: Path) -> None:
    """An operator that waits for its API server exits on SIGTERM."""
    clock = asyncio.get_running_loop().time
    started_at = clock()
    async with server.serving(tmp_path) as kubeconfig, process(kubeconfig) as operator:
        server.away = True
        await until(lambda: server.refused > len(CHILD_RESOURCES))
        startup = clock() - started_at
        operator.send_signal(signal.SIGTERM)
        async with asyncio.timeout(max(3, startup)):
            await operator.communicate()
    assert operator.returncode == 0

"""The operator as a process: how it ends."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

import aiohttp

from backendpool.controller.manager import until_told
from backendpool.k8s.resources import CHILD_RESOURCES, DEPLOYMENTS
from tests.fakes.api_server import ApiServer
from tests.fakes.until import until
from tests.unit.controller.operators import applied, process


async def test_sigterm_ends_it_cleanly_and_soon(server: ApiServer, tmp_path: Path) -> None:
    """Ready when all is known; asked to end it is gone within a second or so, with exit code 0 and no traceback."""
    server.held = {DEPLOYMENTS.path(): asyncio.Event()}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    async def is_ready() -> bool:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/readyz") as response:
            return response.status == 200

    async with server.serving(tmp_path) as kubeconfig, process(kubeconfig, port) as operator:
        await until(lambda: server.watched(DEPLOYMENTS))
        assert not await is_ready()
        server.held[DEPLOYMENTS.path()].set()
        await until(lambda: applied(server))
        await until(is_ready)
        operator.send_signal(signal.SIGTERM)
        async with asyncio.timeout(3):
            _, log = await operator.communicate()
    assert operator.returncode == 0
    assert b"Traceback" not in log
    assert b"ERROR" not in log


async def test_second_signal_does_not_cut_the_end_short() -> None:
    """Who presses Ctrl-C twice still gives the Lease back."""
    begun, end, ended = asyncio.Event(), asyncio.Event(), False

    async def work() -> None:
        nonlocal ended
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await end.wait()
            ended = True

    telling = asyncio.create_task(until_told(work()))
    await begun.wait()
    for _ in range(2):
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(0.01)
    end.set()
    await telling
    assert ended


async def test_sigterm_is_heard_while_the_api_server_is_away(server: ApiServer, tmp_path: Path) -> None:
    """An operator that waits for its API server does not wait to end."""
    async with server.serving(tmp_path) as kubeconfig, process(kubeconfig) as operator:
        server.away = True
        await until(lambda: server.refused > len(CHILD_RESOURCES))
        operator.send_signal(signal.SIGTERM)
        async with asyncio.timeout(3):
            await operator.communicate()
    assert operator.returncode == 0

"""CPU cost of a request in the greet gateway, by mode."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Final

import aiohttp

from bench.client.backends import NAMESPACE, POOL
from bench.client.comparison import Candidate, Cost, Work, compare
from bench.common.processes import cpu_of, free_port, stop
from greet.callers import BODY
from greet.settings import Mode

HTTP_ALONE: Final = "HTTP alone"
MODES: Final = (Mode.STICKY, Mode.WATCH, Mode.LOOKASIDE)

_AT_ONCE = 10
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway; ``url`` has no path."""

    pid: int
    url: str


async def by_mode(port: int, rounds: int, requests: int) -> Mapping[str, Cost]:
    """Compare ``POST /greet`` in each of the :data:`MODES`, and a request that calls no backend.

    Mode sticky has one backend. The other modes use the backends that the lookaside on ``port`` returns by Watch or
    Resolve.
    """
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        gateways = [await stack.enter_async_context(_running(mode, port, session)) for mode in MODES]
        candidates = {HTTP_ALONE: _candidate(session, gateways[0], "GET", "/healthz")}
        for mode, gateway in zip(MODES, gateways, strict=True):
            candidates[mode] = _candidate(session, gateway, "POST", "/greet")
        return await compare(candidates, rounds, max(1, requests // _AT_ONCE) * _AT_ONCE)


def _candidate(session: aiohttp.ClientSession, gateway: Gateway, method: str, path: str) -> Candidate:
    return Candidate(_asking(session, method, gateway.url + path), partial(cpu_of, gateway.pid))


def _asking(session: aiohttp.ClientSession, method: str, url: str) -> Work:
    body = BODY if method == "POST" else None

    async def one_after_another(times: int) -> None:
        for _ in range(times):
            async with session.request(method, url, json=body) as response:
                await response.read()
                response.raise_for_status()

    async def work(times: int) -> None:
        await asyncio.gather(*(one_after_another(times // _AT_ONCE) for _ in range(_AT_ONCE)))

    return work


@asynccontextmanager
async def _running(mode: Mode, port: int, session: aiohttp.ClientSession) -> AsyncIterator[Gateway]:
    """Run a gateway process; yield when it is ready."""
    where = {
        "GATEWAY_PORT": str(free_port()),
        "GRPC_SERVER_HOST": _LOOPBACK,
        "GRPC_SERVER_PORT": str(port),
        "LB_SVC_NAME": _LOOPBACK,
        "LB_PORT": str(port),
        "POD_NAMESPACE": NAMESPACE,
        "GRPC_SVC": POOL,
        "GATEWAY_MODE": mode,
        "DRAIN_SECONDS": "0",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "greet", "gateway", env={**os.environ, **where}
    )
    gateway = Gateway(process.pid, f"http://{_LOOPBACK}:{where['GATEWAY_PORT']}")
    try:
        while not await _is_ready(session, gateway):
            if process.returncode is not None:
                raise RuntimeError(f"the gateway exited with status {process.returncode}")
            await asyncio.sleep(0.05)
        yield gateway
    finally:
        await stop(process)


async def _is_ready(session: aiohttp.ClientSession, gateway: Gateway) -> bool:
    try:
        async with session.get(f"{gateway.url}/readyz") as response:
            return response.status == HTTPStatus.OK
    except aiohttp.ClientConnectionError:
        return False

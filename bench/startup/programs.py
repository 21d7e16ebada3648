"""The measured programs, each in its own process: ``python -m bench.startup.programs NAME``.

A server serves /readyz on METRICS_PORT. A client prints the longest blocking of its event loop while it connects, and
stays connected until its standard input ends. Each program imports only what it needs, since imports dominate the cost.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

SERVICE_ACCOUNT: Final = "SERVICE_ACCOUNT_FOLDER"
"""The environment variable with the folder that replaces a pod's service account folder."""

_TICK: Final = 0.001


def _lookaside() -> None:
    _enter_pod()
    from backendpool.cli import main

    raise SystemExit(main(["lookaside"]))


def _server() -> None:
    """Run the lookaside's libraries alone: grpc.aio with health and reflection, aiohttp, prometheus_client."""
    import aiohttp
    import grpc.aio
    from aiohttp import web
    from grpc_health.v1 import health, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection
    from prometheus_client import CollectorRegistry, ProcessCollector

    async def serve() -> None:
        ProcessCollector(registry=CollectorRegistry())
        server = grpc.aio.server()
        health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
        reflection.enable_server_reflection((health.SERVICE_NAME,), server)
        server.add_insecure_port(f"[::]:{os.environ['LOOKASIDE_PORT']}")
        app = web.Application()
        app.router.add_get("/readyz", ready)
        runner = web.AppRunner(app, access_log=None)
        async with aiohttp.ClientSession():
            await runner.setup()
            await server.start()
            await web.TCPSite(runner, None, int(os.environ["METRICS_PORT"])).start()
            await server.wait_for_termination()

    async def ready(request: web.Request) -> web.Response:
        return web.Response()

    asyncio.run(serve())


def _client() -> None:
    _enter_pod()
    from backendpool.client import connect

    target = f"pool:///{os.environ['POOL_NAMESPACE']}/{os.environ['POOL_NAME']}"

    async def hold() -> None:
        async with _stalls() as longest, connect(target) as channel:
            while channel.status().view is None:
                await channel.wait_for_change()
            await _held(longest())

    asyncio.run(hold())


def _channel() -> None:
    """Connect a plain grpc.aio channel."""
    import grpc.aio

    async def hold() -> None:
        async with _stalls() as longest, grpc.aio.insecure_channel("localhost:1"):
            await _held(longest())

    asyncio.run(hold())


def _enter_pod() -> None:
    from backendpool.k8s import service_account

    service_account.FOLDER = Path(os.environ[SERVICE_ACCOUNT])


PROGRAMS: Final[Mapping[str, Callable[[], None]]] = {
    "lookaside": _lookaside,
    "server": _server,
    "client": _client,
    "channel": _channel,
}


@asynccontextmanager
async def _stalls() -> AsyncIterator[Callable[[], float]]:
    """Measure the blocking of the event loop; yield a function that returns the longest one so far in seconds."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(_TICK)
            longest = max(longest, time.monotonic() - before - _TICK)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(2 * _TICK)
    try:
        yield lambda: longest
    finally:
        watching.cancel()


async def _held(stall: float) -> None:
    """Print the blocking and wait until standard input ends."""
    print(stall, flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    PROGRAMS[sys.argv[1]]()

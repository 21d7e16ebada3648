"""The gateway's HTTP server and its graceful shutdown.

On SIGTERM, the gateway becomes unready and keeps serving while kube-proxy and ingresses update. Then it closes its
listener and waits for requests in flight.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry

from backendpool.errors import SettingsError
from backendpool.runtime.observability import new_registry
from backendpool.runtime.signals import stop_requested
from greet.gateway.app import Gateway, application
from greet.gateway.greeter import Greeter
from greet.gateway.metrics import GatewayMetrics
from greet.gateway.modes import connected
from greet.settings import GatewaySettings

log = logging.getLogger(__name__)


async def serve(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = stop_requested()
    registry = new_registry()
    metrics = GatewayMetrics(registry)
    async with connected(settings, metrics) as greeter, serving(settings, greeter, metrics, registry):
        await stop.wait()


@asynccontextmanager
async def serving(
    settings: GatewaySettings, greeter: Greeter, metrics: GatewayMetrics, registry: CollectorRegistry
) -> AsyncIterator[int]:
    """Serve within the context, and yield the port; exit shuts down gracefully."""
    gateway = Gateway(greeter, settings.timeout_seconds)
    app = application(gateway, metrics, registry)
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=settings.grace_seconds)
    await runner.setup()
    try:
        await _listen(runner, settings)
        port: int = runner.addresses[0][1]
        log.info("Serving greetings over HTTP", extra={"port": port, "mode": settings.mode})
        yield port
        log.info("Draining before shutdown", extra={"drain_seconds": settings.drain_seconds})
        gateway.stopping = True
        await asyncio.sleep(settings.drain_seconds)
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, settings: GatewaySettings) -> None:
    try:
        await web.TCPSite(runner, settings.host or None, settings.port).start()
    except OSError as error:
        message = f"GATEWAY_PORT {settings.port} is not available ({error}): set a free port"
        raise SettingsError(message) from error

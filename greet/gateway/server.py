"""The gateway's server, put together: a mode, the HTTP in front of it, and their end.

Asked to stop, it says that it is not ready and goes on serving while kube-proxy and ingresses take notice; then
it listens no more, and requests under way finish.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry

from backendpool.errors import SettingsError
from backendpool.runtime.observability import new_registry
from backendpool.runtime.signals import stop_requested
from greet.gateway.app import Gateway, application
from greet.gateway.greeter import Greeter
from greet.gateway.metrics import GatewayMetrics
from greet.gateway.modes import dns, lookaside, pool, sticky, watch, xds
from greet.settings import GatewaySettings, Mode

log = logging.getLogger(__name__)


async def serve(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = stop_requested()
    registry = new_registry()
    metrics = GatewayMetrics(registry)
    async with _connected(settings, metrics) as greeter, serving(settings, greeter, metrics, registry):
        await stop.wait()


@asynccontextmanager
async def serving(
    settings: GatewaySettings, greeter: Greeter, metrics: GatewayMetrics, registry: CollectorRegistry
) -> AsyncIterator[int]:
    """Serve while the context lasts, and give the port; leaving it is a graceful stop."""
    gateway = Gateway(greeter, settings.timeout_seconds)
    app = application(gateway, metrics, registry)
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=settings.grace_seconds)
    await runner.setup()
    try:
        await _listen(runner, settings)
        port: int = runner.addresses[0][1]
        log.info("serving on port %d, mode %s", port, settings.mode)
        yield port
        log.info("stopping: serving for another %g s", settings.drain_seconds)
        gateway.stopping = True
        await asyncio.sleep(settings.drain_seconds)
    finally:
        await runner.cleanup()


def _connected(settings: GatewaySettings, metrics: GatewayMetrics) -> AbstractAsyncContextManager[Greeter]:
    match settings.mode:
        case Mode.STICKY:
            return sticky.connected(settings)
        case Mode.DNS:
            return dns.connected(settings)
        case Mode.LOOKASIDE:
            return lookaside.connected(settings)
        case Mode.XDS:
            return xds.connected(settings)
        case Mode.POOL:
            return pool.connected(settings, metrics)
        case Mode.WATCH:
            return watch.connected(settings, metrics)


async def _listen(runner: web.AppRunner, settings: GatewaySettings) -> None:
    try:
        await web.TCPSite(runner, settings.host or None, settings.port).start()
    except OSError as error:
        message = f"GATEWAY_PORT {settings.port} cannot be listened on ({error}): give a free port"
        raise SettingsError(message) from error

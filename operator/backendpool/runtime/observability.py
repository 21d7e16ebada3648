"""Health and metrics of a program.

An HTTP server serves ``/healthz``, ``/readyz`` and ``/metrics`` for kubelet and Prometheus. Each program has its own
metrics registry, so that two programs in one process do not mix.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.http import HttpProcessingError
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

from backendpool.errors import SettingsError

Check = Callable[[], str | None]
"""Returns an error message, or None."""

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def new_registry() -> CollectorRegistry:
    """Return a registry with the metrics of the process: CPU, memory, open files, garbage collection."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


@asynccontextmanager
async def serve(
    port: int, registry: CollectorRegistry, healthy: Check, ready: Check, *, host: str | None = None
) -> AsyncIterator[int]:
    """Serve ``/healthz``, ``/readyz`` and ``/metrics`` while the context lasts; returns the port.

    Port 0 takes a free one; ``host`` None is all addresses. If a check returns a message, the response is 503 with that
    message. Raises :class:`SettingsError` if the port is taken.
    """
    app = web.Application()
    add_routes(app, registry, healthy, ready)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await _listen(runner, host, port)
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def add_routes(app: web.Application, registry: CollectorRegistry, healthy: Check, ready: Check) -> None:
    """Add ``/healthz``, ``/readyz`` and ``/metrics`` to the HTTP server of a program that has one.

    From then on aiohttp does not log malformed requests in this process: it would log each with a traceback, so that
    anybody could fill the log.
    """
    logging.getLogger("aiohttp.server").addFilter(_is_not_client_error)
    app.router.add_get("/healthz", _checked(healthy))
    app.router.add_get("/readyz", _checked(ready))
    app.router.add_get("/metrics", _exposed(registry))


def _checked(check: Check) -> _Handler:
    async def handle(request: web.Request) -> web.Response:
        problem = check()
        return web.Response(text=f"{problem or 'ok'}\n", status=503 if problem else 200)

    return handle


def _exposed(registry: CollectorRegistry) -> _Handler:
    async def handle(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    return handle


async def _listen(runner: web.AppRunner, host: str | None, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise SettingsError(f"METRICS_PORT {port} is not available ({error}): set a free port") from error


def _is_not_client_error(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))

"""Health, metrics and logs of a program.

An HTTP server serves ``/healthz``, ``/readyz`` and ``/metrics`` for kubelet and Prometheus. Each program has its own
metrics registry, so that two programs in one process do not mix.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from aiohttp.http import HttpProcessingError
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

from backendpool.errors import SettingsError

Check = Callable[[], str | None]
"""Returns an error message, or None."""

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LEVELS = ("debug", "info", "warning", "error")
_FORMATS = ("text", "json")
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


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
    """Add ``/healthz``, ``/readyz`` and ``/metrics`` to the HTTP server of a program that has one."""
    app.router.add_get("/healthz", _checked(healthy))
    app.router.add_get("/readyz", _checked(ready))
    app.router.add_get("/metrics", _exposed(registry))


def configure_logging(level: str = "info", format: str = "text") -> None:  # noqa: A002 (the flag's own name)
    """Log to standard error from ``level`` up, as ``text`` or as ``json``, one object per line.

    Raises :class:`SettingsError` for an unknown level or format.
    """
    if level.lower() not in _LEVELS:
        raise SettingsError(f"LOG_LEVEL is {level!r}: give one of {', '.join(_LEVELS)}")
    if format not in _FORMATS:
        raise SettingsError(f"LOG_FORMAT is {format!r}: give one of {', '.join(_FORMATS)}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if format == "json" else _TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("aiohttp.server").addFilter(_is_not_client_error)


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
        raise SettingsError(f"METRICS_PORT {port} cannot be listened on ({error}): give a free port") from error


def _is_not_client_error(record: logging.LogRecord) -> bool:
    """Drop errors about malformed requests: aiohttp logs each with a traceback, so anybody could fill the log."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


class _TextFormatter(logging.Formatter):
    """``time level logger message``; newlines are escaped, so that untrusted data cannot forge a line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return _timestamp(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return super().formatMessage(record).replace("\r", "\\r").replace("\n", "\\n")


class _JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, scalars in ``extra``, exception."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            name: value
            for name, value in vars(record).items()
            if name not in _STANDARD_FIELDS and isinstance(value, str | int | float)
        }
        line |= {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _timestamp(record: logging.LogRecord) -> str:
    """RFC 3339 in UTC, with milliseconds."""
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

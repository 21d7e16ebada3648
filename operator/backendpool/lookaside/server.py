"""The lookaside's server: services, health and metrics on their ports, and the graceful stop.

It is SERVING once the endpoints are known, and stays so while the API server is unreachable: stale endpoints are better
than none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from backendpool.k8s.client import Api
from backendpool.lookaside.cert_watcher import CertWatcher
from backendpool.lookaside.services import Lookaside
from backendpool.lookaside.settings import LookasideSettings
from backendpool.runtime import observability
from backendpool.runtime.grpc_server import RpcServer
from backendpool.runtime.signals import stop_requested

log = logging.getLogger(__name__)

CONNECTIONS: Final = (
    # Pings detect clients whose node died, so that their streams end.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Let clients ping as often, even without a call; the default policy closes their connections (gRFC A8).
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Clients reconnect from time to time (gRFC A9), so that they spread over replicas that were added, and so that the
    # connection of a client that reads nothing ends.
    ("grpc.max_connection_age_ms", 30 * 60_000),
    ("grpc.max_connection_age_grace_ms", 60_000),
)
"""Options for connections with long streams; durations in milliseconds."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports that a server listens on, which differ from the settings if those are 0."""

    grpc: int
    metrics: int


async def serve(settings: LookasideSettings) -> None:
    """Serve until SIGTERM or SIGINT. Must run in the main thread, which handles signals."""
    stop = stop_requested()
    async with await Api.connect(program="lookaside") as api, serving(api, settings):
        await stop.wait()


@asynccontextmanager
async def serving(api: Api, settings: LookasideSettings) -> AsyncIterator[Ports]:
    """Serve until the body ends, then stop gracefully: drain, close the streams, finish the calls in flight."""
    registry = observability.new_registry()
    lookaside = Lookaside(api, settings.namespace, settings.pool, registry)
    server = RpcServer(lookaside.services, CONNECTIONS)
    cert_watcher = CertWatcher(settings.tls_folder, lookaside.metrics.count_reload) if settings.tls_folder else None
    credentials = cert_watcher.credentials() if cert_watcher else None
    port = server.listen(settings.host, settings.port, "LOOKASIDE_PORT", credentials)
    stopping = asyncio.Event()

    def readiness_error() -> str | None:
        return "stopping" if stopping.is_set() else lookaside.readiness_error()

    async with (
        observability.serve(
            settings.metrics_port, registry, _alive, readiness_error, host=settings.host or None
        ) as metrics_port,
        server.answering(settings.grace_seconds),
        _beside(lookaside.run(), _report_serving(lookaside, server)),
    ):
        tls = ("mutual" if cert_watcher.mutual_tls else "server") if cert_watcher else "none"
        log.info(
            "Serving the endpoints of a pool",
            extra={"pool": f"{settings.namespace}/{settings.pool}", "port": port, "tls": tls},
        )
        try:
            yield Ports(port, metrics_port)
        finally:
            stopping.set()
            await server.drain(settings.drain_seconds)
            # Together with the server's GOAWAY, so that clients reconnect to another replica.
            lookaside.publisher.close_all(settings.spread_seconds)


async def _report_serving(lookaside: Lookaside, server: RpcServer) -> None:
    await lookaside.wait_synced()
    await server.ready()
    log.info("Synced the endpoints, ready to serve")


def _alive() -> None:
    """Always succeed: a response proves that the event loop runs, and a bug in a watch ends the process."""


@asynccontextmanager
async def _beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run ``work`` until the body ends; a failure of either cancels the other."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
        yield
        for task in tasks:
            task.cancel()

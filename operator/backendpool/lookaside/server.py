"""The lookaside's server: its services on a port, beside health and metrics, and their end.

It is SERVING once the endpoints are known, and stays so while the API server is away: an answer that was
right a minute ago beats none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from backendpool.k8s.client import Api
from backendpool.lookaside.cert_watcher import CertificateFolder
from backendpool.lookaside.services import Lookaside
from backendpool.lookaside.settings import LookasideSettings
from backendpool.runtime import observability
from backendpool.runtime.grpc_server import RpcServer
from backendpool.runtime.signals import stop_requested

log = logging.getLogger(__name__)

CONNECTIONS: Final = (
    # A client whose node died says nothing: pings find it, and what was kept for it is let go.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Clients may ping as often, with a call or without; the default is to hang up on them (gRFC A8).
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Now and then clients come again (gRFC A9), so that they spread over replicas that were added; and nobody who
    # reads nothing stays for ever.
    ("grpc.max_connection_age_ms", 30 * 60_000),
    ("grpc.max_connection_age_grace_ms", 60_000),
)
"""What a connection with long streams needs; durations in milliseconds."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a server listens."""

    grpc: int
    metrics: int


def run(settings: LookasideSettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    asyncio.run(serve(settings))


async def serve(settings: LookasideSettings) -> None:
    """Serve until SIGTERM or SIGINT; to be awaited in the main thread, which has the signals."""
    stop = stop_requested()
    async with await Api.connect(program="lookaside") as api, serving(api, settings):
        await stop.wait()


@asynccontextmanager
async def serving(api: Api, settings: LookasideSettings) -> AsyncIterator[Ports]:
    """Serve while the context lasts; leaving it is a graceful stop."""
    registry = observability.new_registry()
    lookaside = Lookaside(api, settings.namespace, settings.pool, registry)
    server = RpcServer(lookaside.services, CONNECTIONS)
    certificate = CertificateFolder(settings.tls_folder, lookaside.renewed) if settings.tls_folder else None
    credentials = certificate.credentials() if certificate else None
    port = server.listen(settings.host, settings.port, "LOOKASIDE_PORT", credentials)
    stopping = asyncio.Event()

    def unready() -> str | None:
        return "stopping" if stopping.is_set() else lookaside.unready()

    async with (
        observability.serve(
            settings.metrics_port, registry, _alive, unready, host=settings.host or None
        ) as metrics_port,
        server.answering(settings.grace_seconds),
        _beside(lookaside.run(), _announce(lookaside, server)),
    ):
        tls = ("mutual TLS" if certificate.mutual else "TLS") if certificate else "no TLS"
        log.info("serving %s/%s on port %d, %s", settings.namespace, settings.pool, port, tls)
        try:
            yield Ports(port, metrics_port)
        finally:
            stopping.set()
            await server.drain(settings.drain_seconds)
            # While the server tells each connection that it is the last time (GOAWAY), so that whoever comes again
            # comes by another.
            lookaside.disband(settings.spread_seconds)


async def _announce(lookaside: Lookaside, server: RpcServer) -> None:
    await lookaside.wait_known()
    await server.ready()
    log.info("the endpoints are known")


def _alive() -> None:
    """An answer at all is the proof: the loop turns. A watch that fails for good ends the process."""


@asynccontextmanager
async def _beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run ``work`` beside the body, and end it with the body; a failure of either ends both."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
        yield
        for task in tasks:
            task.cancel()

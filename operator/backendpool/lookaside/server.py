"""The lookaside's server, put together: the view, the gRPC services over it, and their end.

It is SERVING once the endpoints are known, and stays so while the API server is away: an answer that was
right a minute ago beats none. Asked to stop, it says NOT_SERVING and still answers while kube-proxy and
clients take notice, then lets calls under way finish.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from backendpool import observability
from backendpool.cluster.api import Api
from backendpool.errors import SettingsError
from backendpool.lookaside import lookaside_pb2, lookaside_pb2_grpc
from backendpool.lookaside.metrics import LookasideMetrics
from backendpool.lookaside.resolver import Resolver
from backendpool.lookaside.servicer import LookasideServicer
from backendpool.lookaside.settings import LookasideSettings
from backendpool.lookaside.view import EndpointView

log = logging.getLogger(__name__)

_SERVICE = lookaside_pb2.DESCRIPTOR.services_by_name["Lookaside"].full_name
_WHOLE_SERVER = ""  # as the health protocol names it, and kubelet asks for it
_Status = health_pb2.HealthCheckResponse


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
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with await Api.connect() as api, serving(api, settings):
        await stop.wait()


@asynccontextmanager
async def serving(api: Api, settings: LookasideSettings) -> AsyncIterator[Ports]:
    """Serve while the context lasts; leaving it is a graceful stop."""
    view = EndpointView(api, settings.namespace, settings.pool)
    registry = observability.new_registry()
    metrics = LookasideMetrics(registry, view)
    resolver = Resolver(settings.namespace, settings.pool, view.endpoints)
    health_servicer = health.aio.HealthServicer()
    server = _server(LookasideServicer(resolver, metrics.resolved), health_servicer)
    port = _listen(server, settings)
    stopping = asyncio.Event()

    def unready() -> str | None:
        return "stopping" if stopping.is_set() else view.unready()

    await _report(health_servicer, _Status.NOT_SERVING)
    async with (
        observability.serve(
            settings.metrics_port, registry, _alive, unready, host=settings.host or None
        ) as metrics_port,
        _answering(server, settings.grace_seconds),
        _beside(view.run(), _announce(view, health_servicer)),
    ):
        log.info("serving %s/%s on port %d", settings.namespace, settings.pool, port)
        try:
            yield Ports(port, metrics_port)
        finally:
            log.info("stopping")
            stopping.set()
            await health_servicer.enter_graceful_shutdown()
            await asyncio.sleep(settings.drain_seconds)


def _server(servicer: LookasideServicer, health_servicer: health.aio.HealthServicer) -> grpc.aio.Server:
    # Without SO_REUSEPORT a taken port is an error, and not a port whose calls two programs share.
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    lookaside_pb2_grpc.add_LookasideServicer_to_server(servicer, server)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection((_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    return server


def _listen(server: grpc.aio.Server, settings: LookasideSettings) -> int:
    try:
        return server.add_insecure_port(f"{settings.host or '[::]'}:{settings.port}")
    except RuntimeError as error:
        raise SettingsError(f"LOOKASIDE_PORT {settings.port} cannot be listened on: give a free port") from error


async def _announce(view: EndpointView, health_servicer: health.aio.HealthServicer) -> None:
    await view.wait_synced()
    await _report(health_servicer, _Status.SERVING)
    log.info("the endpoints are known")


async def _report(health_servicer: health.aio.HealthServicer, status: int) -> None:
    for service in (_WHOLE_SERVER, _SERVICE):
        await health_servicer.set(service, status)


def _alive() -> None:
    """An answer at all is the proof: the loop turns. A watch that fails for good ends the process."""


@asynccontextmanager
async def _answering(server: grpc.aio.Server, grace: float) -> AsyncIterator[None]:
    """Take calls during the body; those under way at its end have ``grace`` seconds more."""
    await server.start()
    try:
        yield
    finally:
        await server.stop(grace)


@asynccontextmanager
async def _beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run ``work`` beside the body, and end it with the body; a failure of either ends both."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
        yield
        for task in tasks:
            task.cancel()

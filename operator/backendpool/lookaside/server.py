"""The lookaside's server, put together: the view, the gRPC services over it, and their end.

It is SERVING once the endpoints are known, and stays so while the API server is away: an answer that was
right a minute ago beats none.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from backendpool import observability
from backendpool.cluster.api import Api
from backendpool.lookaside import lookaside_pb2, lookaside_pb2_grpc
from backendpool.lookaside.metrics import LookasideMetrics
from backendpool.lookaside.resolver import Resolver
from backendpool.lookaside.servicer import LookasideServicer
from backendpool.lookaside.settings import LookasideSettings
from backendpool.lookaside.view import EndpointView
from backendpool.rpc import RpcServer

log = logging.getLogger(__name__)

_SERVICE = lookaside_pb2.DESCRIPTOR.services_by_name["Lookaside"].full_name


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
    servicer = LookasideServicer(resolver, metrics.resolved)
    server = RpcServer({_SERVICE: partial(lookaside_pb2_grpc.add_LookasideServicer_to_server, servicer)})
    port = server.listen(settings.host, settings.port, "LOOKASIDE_PORT")
    stopping = asyncio.Event()

    def unready() -> str | None:
        return "stopping" if stopping.is_set() else view.unready()

    async with (
        observability.serve(
            settings.metrics_port, registry, _alive, unready, host=settings.host or None
        ) as metrics_port,
        server.answering(settings.grace_seconds),
        _beside(view.run(), _announce(view, server)),
    ):
        log.info("serving %s/%s on port %d", settings.namespace, settings.pool, port)
        try:
            yield Ports(port, metrics_port)
        finally:
            stopping.set()
            await server.drain(settings.drain_seconds)


async def _announce(view: EndpointView, server: RpcServer) -> None:
    await view.wait_synced()
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

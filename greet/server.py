"""The greet server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from grpc.aio import ServicerContext

from backendpool.runtime.grpc_server import RpcServer
from backendpool.runtime.signals import stop_requested
from greet import greet_pb2, greet_pb2_grpc
from greet.greet_pb2 import GreetingRequest, GreetingResponse
from greet.settings import ServerSettings

log = logging.getLogger(__name__)

_SERVICE = greet_pb2.DESCRIPTOR.services_by_name["GreetService"].full_name


class GreetServicer(greet_pb2_grpc.GreetServiceServicer):
    """Greets a person by name and adds the name and address of the pod."""

    def __init__(self, settings: ServerSettings) -> None:
        self._delay_seconds = settings.delay_seconds
        self._signature = f"from pod: name({settings.pod_name}), ip({settings.pod_ip})."

    async def Greet(  # noqa: N802 (the name is that of the RPC)
        self, request: GreetingRequest, context: ServicerContext[GreetingRequest, GreetingResponse]
    ) -> GreetingResponse:
        await asyncio.sleep(self._delay_seconds)
        person = request.greeting
        return GreetingResponse(Result=f"Hello, {person.first_name} {person.last_name} {self._signature}")


async def serve(settings: ServerSettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = stop_requested()
    async with serving(settings):
        await stop.wait()


@asynccontextmanager
async def serving(settings: ServerSettings) -> AsyncIterator[int]:
    """Serve within the context, and yield the port; exit shuts down gracefully."""
    server = RpcServer({_SERVICE: partial(greet_pb2_grpc.add_GreetServiceServicer_to_server, GreetServicer(settings))})
    port = server.listen(settings.host, settings.port, "GRPC_PORT")
    async with server.answering(settings.grace_seconds):
        await server.ready()
        log.info("Serving greetings over gRPC", extra={"port": port})
        try:
            yield port
        finally:
            await server.drain(settings.drain_seconds)

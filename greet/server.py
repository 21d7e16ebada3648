"""The greet server.

Asked to stop, it says NOT_SERVING and goes on taking calls for a while: its clients learn of it only when
kubelet has seen that, the EndpointSlice has changed, and the change has reached them. Then calls under way finish.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
from grpc.aio import ServicerContext
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from backendpool.errors import SettingsError
from greet import greet_pb2, greet_pb2_grpc
from greet.greet_pb2 import GreetingRequest, GreetingResponse
from greet.settings import ServerSettings
from greet.stopping import stop_requested

log = logging.getLogger(__name__)

_SERVICE = greet_pb2.DESCRIPTOR.services_by_name["GreetService"].full_name
_WHOLE_SERVER = ""  # as the health protocol names it, and kubelet asks for it


class GreetServicer(greet_pb2_grpc.GreetServiceServicer):
    """Greets by name, and signs with the pod."""

    def __init__(self, settings: ServerSettings) -> None:
        self._delay_seconds = settings.delay_seconds
        self._signature = f"from pod: name({settings.pod_name}), ip({settings.pod_ip})."

    async def Greet(  # noqa: N802 (the method's name on the wire)
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
    """Serve while the context lasts, and give the port; leaving it is a graceful stop."""
    health_servicer = health.aio.HealthServicer()
    server = _server(GreetServicer(settings), health_servicer)
    port = _listen(server, settings)
    await server.start()
    for service in (_WHOLE_SERVER, _SERVICE):
        await health_servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
    log.info("serving on port %d", port)
    try:
        yield port
    finally:
        log.info("stopping: serving for another %g s", settings.drain_seconds)
        await health_servicer.enter_graceful_shutdown()
        await asyncio.sleep(settings.drain_seconds)
        await server.stop(settings.grace_seconds)


def _server(servicer: GreetServicer, health_servicer: health.aio.HealthServicer) -> grpc.aio.Server:
    # Without SO_REUSEPORT a taken port is an error, and not a port whose calls two programs share.
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    greet_pb2_grpc.add_GreetServiceServicer_to_server(servicer, server)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection((_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    return server


def _listen(server: grpc.aio.Server, settings: ServerSettings) -> int:
    try:
        return server.add_insecure_port(f"{settings.host or '[::]'}:{settings.port}")
    except RuntimeError as error:
        raise SettingsError(f"GRPC_PORT {settings.port} cannot be listened on: give a free port") from error

"""What our gRPC servers have in common: health, reflection, a port of their own, and a graceful end.

Asked to stop, a server says NOT_SERVING and goes on taking calls for a while: its clients learn of it only when
kubelet has seen that, the EndpointSlice has changed, and the change has reached them. Then calls under way finish.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from backendpool.errors import SettingsError

log = logging.getLogger(__name__)

Register = Callable[[grpc.aio.Server], None]
"""Adds a servicer, as the generated ``add_…Servicer_to_server`` do."""

_WHOLE_SERVER: Final = ""  # as the health protocol names it, and kubelet asks for it
_Status = health_pb2.HealthCheckResponse


class RpcServer:
    """Serves ``services``, given by their full names, over connections with ``options`` of gRPC's."""

    def __init__(self, services: Mapping[str, Register], options: Sequence[tuple[str, int]] = ()) -> None:
        # Without SO_REUSEPORT a taken port is an error, and not a port whose calls two programs share.
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0), *options])
        self._health = health.aio.HealthServicer()
        self._names = (_WHOLE_SERVER, *services)
        for register in services.values():
            register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    def listen(self, host: str, port: int, variable: str, credentials: grpc.ServerCredentials | None = None) -> int:
        """Listen on ``host``, all addresses of both families where empty, and give the port; 0 takes a free one.

        By TLS with ``credentials``, in clear without. Raises :class:`SettingsError`, by the name of the ``variable``,
        where the port is taken.
        """
        address = f"{host or '[::]'}:{port}"
        try:
            if credentials is not None:
                return self._server.add_secure_port(address, credentials)
            return self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise SettingsError(f"{variable} {port} cannot be listened on: give a free port") from error

    @asynccontextmanager
    async def answering(self, grace: float) -> AsyncIterator[None]:
        """Take calls while the context lasts; those under way at its end have ``grace`` seconds more.

        Health is NOT_SERVING until :meth:`ready`.
        """
        await self._report(_Status.NOT_SERVING)
        await self._server.start()
        try:
            yield
        finally:
            await self._server.stop(grace)

    async def ready(self) -> None:
        """Say SERVING, of the whole server and of each service."""
        await self._report(_Status.SERVING)

    async def drain(self, seconds: float) -> None:
        """Say NOT_SERVING, for good, and serve that much longer."""
        log.info("stopping: serving for another %g s", seconds)
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(seconds)

    async def _report(self, status: int) -> None:
        for name in self._names:
            await self._health.set(name, status)

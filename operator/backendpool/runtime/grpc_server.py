"""A gRPC server with health checks, reflection and a graceful shutdown.

At shutdown, a server reports NOT_SERVING and accepts calls for a while: clients only learn of it once kubelet has seen
it, the EndpointSlice has changed, and the change has reached them. Then calls in flight finish.
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
"""Registers a servicer, as the generated ``add_…Servicer_to_server`` functions do."""

_WHOLE_SERVER: Final = ""  # as the health protocol names it, and kubelet asks for it
_Status = health_pb2.HealthCheckResponse


class RpcServer:
    """A server of ``services``, by full name; ``options`` are gRPC channel arguments."""

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
        """Listen on ``host`` (all addresses if empty) and return the port; port 0 takes a free one.

        Plaintext without ``credentials``. Raises :class:`SettingsError` with the name of the ``variable`` if the port
        is taken.
        """
        address = f"{host or '[::]'}:{port}"
        try:
            if credentials is not None:
                return self._server.add_secure_port(address, credentials)
            return self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise SettingsError(f"{variable} {port} is in use: set a free port") from error

    @asynccontextmanager
    async def answering(self, grace: float) -> AsyncIterator[None]:
        """Serve while the context lasts; at its end, calls in flight have ``grace`` seconds to finish.

        Health is NOT_SERVING until :meth:`ready`.
        """
        await self._report(_Status.NOT_SERVING)
        await self._server.start()
        try:
            yield
        finally:
            await self._server.stop(grace)

    async def ready(self) -> None:
        """Report SERVING for the server and each service."""
        await self._report(_Status.SERVING)

    async def drain(self, seconds: float) -> None:
        """Report NOT_SERVING from now on, and keep serving for ``seconds``."""
        log.info("Draining before shutdown", extra={"drain_seconds": seconds})
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(seconds)

    async def _report(self, status: int) -> None:
        for name in self._names:
            await self._health.set(name, status)

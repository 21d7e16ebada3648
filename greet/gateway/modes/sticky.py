"""One channel to one host: the problem.

A gRPC channel keeps one connection, and a ClusterIP chooses a pod for each connection: one pod gets all calls.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio

from greet.gateway.greeter import Greeter
from greet.gateway.modes.channel import ChannelGreeter
from greet.settings import GatewaySettings


@asynccontextmanager
async def connected(settings: GatewaySettings) -> AsyncIterator[Greeter]:
    """Greet by GRPC_SERVER_HOST and GRPC_SERVER_PORT."""
    async with grpc.aio.insecure_channel(f"{settings.server_host}:{settings.server_port}") as channel:
        yield ChannelGreeter(channel)

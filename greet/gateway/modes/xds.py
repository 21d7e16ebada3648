"""gRPC's own xDS client, and the pool's lookaside as its control plane: balanced and current, without a word of code.

What the client has to know is in the bootstrap file that ``GRPC_XDS_BOOTSTRAP`` names. The same works in every language
that gRPC has an xDS client for.
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
    """Greet by the pool GRPC_SVC in POD_NAMESPACE."""
    async with grpc.aio.insecure_channel(f"xds:///{settings.service}.{settings.namespace}") as channel:
        yield ChannelGreeter(channel)

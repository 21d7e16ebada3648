"""What DNS has for a headless Service, in turn: gRPC's own balancing.

It spreads calls, but a channel asks DNS again only when it loses a connection: a pod that is added stays unseen.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import grpc.aio

from greet.gateway.greeter import Greeter
from greet.gateway.modes.channel import ChannelGreeter
from greet.settings import GatewaySettings

_SERVICE_CONFIG: Final = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})


@asynccontextmanager
async def connected(settings: GatewaySettings) -> AsyncIterator[Greeter]:
    """Greet by the Service GRPC_SVC in POD_NAMESPACE, on GRPC_SERVER_PORT."""
    host = f"{settings.service}.{settings.namespace}" if settings.namespace else settings.service
    target = f"dns:///{host}:{settings.server_port}"
    async with grpc.aio.insecure_channel(target, options=[("grpc.service_config", _SERVICE_CONFIG)]) as channel:
        yield ChannelGreeter(channel)

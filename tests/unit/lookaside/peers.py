"""A lookaside server on loopback, and a gRPC client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import aiohttp
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from backendpool.k8s.client import Api
from backendpool.lookaside.server import Ports, serving
from backendpool.lookaside.settings import LookasideSettings
from backendpool.proto.lookaside.lookaside_pb2 import Request
from backendpool.proto.lookaside.lookaside_pb2_grpc import LookasideStub

SERVING: int = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: int = health_pb2.HealthCheckResponse.NOT_SERVING
SETTINGS = LookasideSettings(
    pool="greetserver",
    namespace="default",
    port=0,
    metrics_port=0,
    host="127.0.0.1",
    drain_seconds=0.0,
    spread_seconds=0.2,
    grace_seconds=1.0,
)
ROUND_ROBIN = Request(router=Request.ROUNDROBIN, service="greetserver", namespace="default")


class Client:
    def __init__(self, channel: grpc.aio.Channel, ports: Ports) -> None:
        self.channel = channel
        self.lookaside = LookasideStub(channel)
        self.health = health_pb2_grpc.HealthStub(channel)
        self.ports = ports

    async def resolve(self, request: Request = ROUND_ROBIN) -> str:
        return (await self.lookaside.Resolve(request, timeout=5)).address

    async def status(self, service: str = "") -> int:
        request = health_pb2.HealthCheckRequest(service=service)
        status: int = (await self.health.Check(request, timeout=5)).status
        return status

    async def http(self, path: str) -> tuple[int, str]:
        return await http(self.ports, path)

    async def ready(self) -> bool:
        status = await self.status()
        return status == SERVING


async def http(ports: Ports, path: str) -> tuple[int, str]:
    """Return the status and body of a path of the metrics port."""
    url = f"http://127.0.0.1:{ports.metrics}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.text()


@asynccontextmanager
async def client(ports: Ports) -> AsyncIterator[Client]:
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}", options=options) as channel:
        yield Client(channel, ports)


@asynccontextmanager
async def started(api: Api, settings: LookasideSettings = SETTINGS) -> AsyncIterator[Client]:
    """Start a server and its client; wait for the first list unless the API server is unreachable."""
    async with serving(api, settings) as ports, client(ports) as found:
        yield found


async def rpc_error(call: Awaitable[str]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value.code(), raised.value.details() or ""

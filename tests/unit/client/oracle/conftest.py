"""The channels that must not be told apart: grpc.aio's own is the oracle, and what it does is right."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from enum import StrEnum

import grpc.aio
import pytest
from grpc.aio import ClientInterceptor

from backendpool.api.endpoints import Endpoint
from backendpool.client.balancer import Balancer
from backendpool.client.channel import PoolChannel
from tests.unit.client.oracle.service import LOOPBACK, Service, Stub
from tests.unit.client.pods import settled, view

Connect = Callable[..., Awaitable[grpc.aio.Channel]]


class Kind(StrEnum):
    BARE = "grpc.aio"
    POOL = "pool"
    FRESH_POOL = "pool that is not connected yet"


@pytest.fixture(params=list(Kind))
def kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    return kind


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    async with service.serving():
        yield service


@pytest.fixture
async def connect(kind: Kind) -> AsyncIterator[Connect]:
    """Makes a channel of each kind to a port on loopback; closed at the end."""
    async with AsyncExitStack() as stack:

        async def make(port: int, interceptors: Sequence[ClientInterceptor] = ()) -> grpc.aio.Channel:
            channel: grpc.aio.Channel
            if kind is Kind.BARE:
                channel = grpc.aio.insecure_channel(f"ipv4:{LOOPBACK}:{port}", interceptors=interceptors)
            else:
                balancer = Balancer("ns/oracle")
                balancer.update(view([Endpoint(LOOPBACK, port)]))
                if kind is Kind.POOL:
                    await settled(balancer)
                channel = PoolChannel(balancer, interceptors=interceptors)
            return await stack.enter_async_context(channel)

        yield make


@pytest.fixture
async def channel(connect: Connect, service: Service) -> grpc.aio.Channel:
    return await connect(service.port)


@pytest.fixture
async def stub(channel: grpc.aio.Channel) -> Stub:
    return Stub(channel)

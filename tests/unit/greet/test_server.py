"""The greet server, over real connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from backendpool.errors import SettingsError
from greet.greet_pb2 import Greeting, GreetingRequest
from greet.greet_pb2_grpc import GreetServiceStub
from greet.server import serving
from greet.settings import ServerSettings

LOOPBACK = "127.0.0.1"
REQUEST = GreetingRequest(greeting=Greeting(first_name="Ada", last_name="Lovelace"))
GREETING = "Hello, Ada Lovelace from pod: name(greetserver-x), ip(192.0.2.7)."


def settings(delay: float = 0.0, drain: float = 0.0, grace: float = 5.0) -> ServerSettings:
    return ServerSettings("greetserver-x", "192.0.2.7", LOOPBACK, 0, delay, drain, grace)


@asynccontextmanager
async def channel_to(port: int) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"{LOOPBACK}:{port}") as channel:
        yield channel


async def greet(channel: grpc.aio.Channel) -> str:
    return (await GreetServiceStub(channel).Greet(REQUEST, timeout=5)).Result


async def health(channel: grpc.aio.Channel, service: str = "") -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    status: int = (await health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)).status
    return status


async def test_greets_and_signs() -> None:
    """The greeting is exactly the text that existing clients parse."""
    async with serving(settings()) as port, channel_to(port) as channel:
        assert await greet(channel) == GREETING


@pytest.mark.parametrize("service", ["", "greet.GreetService"])
async def test_health_says_serving(service: str) -> None:
    """Health is SERVING for the server (the kubelet asks for it) and for the service (clients do)."""
    async with serving(settings()) as port, channel_to(port) as channel:
        assert await health(channel, service) == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_lists_the_service() -> None:
    """Server reflection lists the service, so grpcurl needs no proto file."""
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    async with serving(settings()) as port, channel_to(port) as channel:
        answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request]))
        answer = await answers.read()
        assert "greet.GreetService" in {service.name for service in answer.list_services_response.service}


async def test_draining_server_says_so_and_takes_calls() -> None:
    """While the server drains, its health is NOT_SERVING and it answers calls; afterwards it is UNAVAILABLE."""
    async with asyncio.TaskGroup() as group:
        server = serving(settings(drain=0.3))
        port = await server.__aenter__()
        async with channel_to(port) as channel:
            assert await greet(channel) == GREETING
            stopping = group.create_task(server.__aexit__(None, None, None))
            await asyncio.sleep(0.05)
            assert await health(channel) == health_pb2.HealthCheckResponse.NOT_SERVING
            assert await greet(channel) == GREETING
            await stopping
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await greet(channel)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_calls_under_way_finish_at_the_end() -> None:
    """A call that is still in flight after the drain is answered within the grace period."""
    async with asyncio.TaskGroup() as group:
        async with serving(settings(delay=0.2)) as port:
            channel = await group.create_task(connected(port))
            call = group.create_task(greet(channel))
            await asyncio.sleep(0.05)
        assert await call == GREETING
        await channel.close()


async def connected(port: int) -> grpc.aio.Channel:
    channel = grpc.aio.insecure_channel(f"{LOOPBACK}:{port}")
    await channel.channel_ready()
    return channel


async def test_taken_port_is_a_settings_error() -> None:
    """The error for a port in use names the variable of the port."""
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"GRPC_PORT {port} is in use: set a free port"):
            async with serving(ServerSettings("x", host=LOOPBACK, port=port)):
                pass

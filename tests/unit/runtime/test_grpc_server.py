"""What all gRPC servers of the project share."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from backendpool.runtime.grpc_server import RpcServer

LOOPBACK = "127.0.0.1"
SERVICES = ("greet.One", "greet.Two")


async def health(channel: grpc.aio.Channel, service: str) -> str:
    request = health_pb2.HealthCheckRequest(service=service)
    answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


async def test_each_service_is_reported_and_reflected() -> None:
    """Every service, and the server, is NOT_SERVING until it is ready, then SERVING."""
    added: list[grpc.aio.Server] = []
    server = RpcServer(dict.fromkeys(SERVICES, added.append))
    port = server.listen(LOOPBACK, 0, "PORT")
    assert len(added) == len(SERVICES)
    async with server.answering(1), grpc.aio.insecure_channel(f"{LOOPBACK}:{port}") as channel:
        assert {await health(channel, name) for name in ("", *SERVICES)} == {"NOT_SERVING"}
        await server.ready()
        assert {await health(channel, name) for name in ("", *SERVICES)} == {"SERVING"}
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await health(channel, "greet.Three")
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request]))
        listed = {service.name for service in (await answers.read()).list_services_response.service}
        assert set(SERVICES) <= listed


async def test_server_listens_on_all_addresses_unless_told_otherwise() -> None:
    """By default, a server listens on all IPv4 and IPv6 addresses."""
    server = RpcServer({})
    port = server.listen("", 0, "PORT")
    async with server.answering(1), grpc.aio.insecure_channel(f"{LOOPBACK}:{port}") as channel:
        assert await health(channel, "") == "NOT_SERVING"

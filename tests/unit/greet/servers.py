"""Greet servers for tests, each on its own loopback address, as each pod has its own address."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc.aio

from greet import server
from greet.greet_pb2 import Greeting, GreetingRequest, GreetingResponse
from greet.greet_pb2_grpc import GreetServiceServicer, add_GreetServiceServicer_to_server
from greet.settings import ServerSettings

REQUEST = GreetingRequest(greeting=Greeting(first_name="Ada", last_name="Lovelace"))


@asynccontextmanager
async def greet_servers(*hosts: str, port: int | None = None) -> AsyncIterator[int]:
    """Run a greet server on each of ``hosts``, with the host as pod name, and yield their common port."""
    port = port or free_port()
    async with AsyncExitStack() as stack:
        for host in hosts:
            settings = ServerSettings(host, host, host, port, drain_seconds=0, grace_seconds=0)
            await stack.enter_async_context(server.serving(settings))
        yield port


class Refusing(GreetServiceServicer):
    """Fails each call with ``code``."""

    def __init__(self, code: grpc.StatusCode) -> None:
        self.code = code
        self.calls = 0

    async def Greet(  # noqa: N802
        self, request: GreetingRequest, context: grpc.aio.ServicerContext[GreetingRequest, GreetingResponse]
    ) -> GreetingResponse:
        self.calls += 1
        await context.abort(self.code, "not now")


@asynccontextmanager
async def serving(servicer: GreetServiceServicer, host: str, port: int) -> AsyncIterator[None]:
    """Serve ``servicer`` on ``host`` and ``port`` within the context."""
    listening = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    add_GreetServiceServicer_to_server(servicer, listening)
    listening.add_insecure_port(f"{host}:{port}")
    await listening.start()
    try:
        yield
    finally:
        await listening.stop(None)


def free_port() -> int:
    """Return a port that is free on all addresses."""
    with socket.create_server(("0.0.0.0", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def pod_of(response: GreetingResponse) -> str:
    """Return the name of the pod in a greeting."""
    return response.Result.partition("name(")[2].partition(")")[0]

"""The server process of `backends`: an echo service, greet, and a lookaside, on one port.

``python -m bench.client.backend_server COUNT`` serves on every loopback address; its lookaside lists COUNT of them.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from backendpool.api.endpoints import EndpointSet
from backendpool.api.pool import PoolView
from backendpool.lookaside.resolver import LookasideServicer, Resolver
from backendpool.lookaside.topic import Topic
from backendpool.lookaside.watch_service import EncodedSnapshot, WatchServicer
from backendpool.proto.lookaside.lookaside_pb2_grpc import add_LookasideServicer_to_server
from bench.client.backends import MESSAGES, NAMESPACE, POOL, SERVICE, endpoints
from greet.greet_pb2_grpc import add_GreetServiceServicer_to_server
from greet.server import GreetServicer
from greet.settings import ServerSettings


async def serve(count: int) -> None:
    """Print the port, and serve until standard input ends. Standard input also ends when the parent is killed."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    port = server.add_insecure_port("0.0.0.0:0")
    _echo(server)
    add_GreetServiceServicer_to_server(GreetServicer(ServerSettings("bench")), server)
    _lookaside(server, EndpointSet.of(endpoints(count, port)))
    await server.start()
    print(port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(None)


def _echo(server: grpc.aio.Server) -> None:
    handlers: dict[str, Any] = {
        "Unary": grpc.unary_unary_rpc_method_handler(_unary),
        "Stream": grpc.unary_stream_rpc_method_handler(_stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


def _lookaside(server: grpc.aio.Server, found: EndpointSet) -> None:
    resolver = Resolver(NAMESPACE, POOL, lambda: found)
    add_LookasideServicer_to_server(LookasideServicer(resolver, lambda _: None), server)
    topic: Topic[EncodedSnapshot] = Topic()
    topic.publish(EncodedSnapshot(PoolView(found)))
    WatchServicer(NAMESPACE, POOL, topic, lambda: 0.0).register(server)


async def _unary(request: bytes, _: object) -> bytes:
    return request


async def _stream(request: bytes, _: object) -> AsyncIterator[bytes]:
    for _number in range(MESSAGES):
        yield request


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))

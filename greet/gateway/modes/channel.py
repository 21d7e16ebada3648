"""Greeting over one channel, whatever is behind it."""

from __future__ import annotations

import grpc.aio

from greet.gateway.greeter import answer_of
from greet.greet_pb2 import GreetingRequest, GreetingResponse
from greet.greet_pb2_grpc import GreetServiceStub


class ChannelGreeter:
    """Leaves it to gRPC to find and to choose the backend."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = GreetServiceStub(channel)

    def unready(self) -> str | None:
        return None

    async def greet(self, request: GreetingRequest, timeout: float) -> GreetingResponse:
        return await answer_of(self._stub.Greet(request, timeout=timeout))

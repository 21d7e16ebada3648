"""Greeter: what a mode provides, and the one over a plain channel."""

from __future__ import annotations

import asyncio
from typing import Protocol

import grpc.aio

from backendpool.errors import NoBackendError
from greet.greet_pb2 import GreetingRequest, GreetingResponse
from greet.greet_pb2_grpc import GreetServiceStub


class LookupFailed(Exception):
    """The lookaside named no backend for a call; ``error`` is how asking it ended."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        super().__init__(str(error))
        self.error = error


class Greeter(Protocol):
    """Calls the greet servers."""

    def unready(self) -> str | None:
        """Return why the gateway is not ready, in a sentence, or None; once None, it stays None."""

    async def greet(self, request: GreetingRequest, timeout: float) -> GreetingResponse:
        """Make one call within ``timeout`` seconds.

        Raises :class:`~backendpool.errors.NoBackendError` if no backend can take it, :class:`LookupFailed` if the
        lookaside names none, and :class:`grpc.aio.AioRpcError` if the call failed.
        """


async def answer_of(call: grpc.aio.UnaryUnaryCall[GreetingRequest, GreetingResponse]) -> GreetingResponse:
    """Await ``call``; raise :class:`~backendpool.errors.NoBackendError` if its channel was closed.

    gRPC raises CancelledError for that, although nobody cancelled the task: a handler that ended so would look as if
    its caller had hung up.
    """
    try:
        return await call
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise NoBackendError("the backend left before it answered: try again") from None


class ChannelGreeter:
    """Leaves finding and choosing the backend to gRPC."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = GreetServiceStub(channel)

    def unready(self) -> str | None:
        return None

    async def greet(self, request: GreetingRequest, timeout: float) -> GreetingResponse:
        return await answer_of(self._stub.Greet(request, timeout=timeout))

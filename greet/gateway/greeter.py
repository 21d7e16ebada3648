"""The interface that each mode of the gateway implements, and its implementation over a plain channel."""

from __future__ import annotations

import asyncio
from typing import Protocol

import grpc.aio

from backendpool.errors import NoBackendError
from greet.greet_pb2 import GreetingRequest, GreetingResponse
from greet.greet_pb2_grpc import GreetServiceStub


class LookupFailed(Exception):
    """The lookaside returned no backend for a call; ``error`` is its status."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        super().__init__(str(error))
        self.error = error


class Greeter(Protocol):
    """Calls the greet servers."""

    def unready(self) -> str | None:
        """Return why the gateway is not ready, or None. Once ready, it stays ready."""

    async def greet(self, request: GreetingRequest, timeout: float) -> GreetingResponse:
        """Make one call within ``timeout`` seconds.

        Raises :class:`~backendpool.errors.NoBackendError` if no backend is available, :class:`LookupFailed` if
        the lookaside returns none, and :class:`grpc.aio.AioRpcError` if the call failed.
        """


async def answer_of(call: grpc.aio.UnaryUnaryCall[GreetingRequest, GreetingResponse]) -> GreetingResponse:
    """Await ``call``; raise :class:`~backendpool.errors.NoBackendError` if its channel was closed.

    gRPC raises CancelledError in that case, although nobody cancelled the task. In a handler, that error would mean
    that the HTTP client disconnected.
    """
    try:
        return await call
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise NoBackendError("the backend was removed before it answered: try again") from None


class ChannelGreeter:
    """A greeter over a plain gRPC channel, which resolves and balances by itself."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = GreetServiceStub(channel)

    def unready(self) -> str | None:
        return None

    async def greet(self, request: GreetingRequest, timeout: float) -> GreetingResponse:
        return await answer_of(self._stub.Greet(request, timeout=timeout))

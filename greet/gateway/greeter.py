"""What a mode is: something that greets."""

from __future__ import annotations

import asyncio
from typing import Protocol

import grpc.aio

from backendpool.errors import NoBackendError
from greet.greet_pb2 import GreetingRequest, GreetingResponse


class LookupFailed(Exception):
    """The lookaside named no backend for a call; ``error`` is how asking it ended."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        super().__init__(str(error))
        self.error = error


class Greeter(Protocol):
    """One way to the greet servers."""

    def unready(self) -> str | None:
        """Why calls should not come here yet, in a sentence; None once they may, and for good then."""

    async def greet(self, request: GreetingRequest, timeout: float) -> GreetingResponse:
        """Make one call within ``timeout`` seconds.

        Raises :class:`~backendpool.errors.NoBackendError` where nobody can take it, :class:`LookupFailed` where the
        lookaside does not say who can, and :class:`grpc.aio.AioRpcError` where it failed.
        """


async def answer_of(call: grpc.aio.UnaryUnaryCall[GreetingRequest, GreetingResponse]) -> GreetingResponse:
    """The call's answer.

    gRPC raises CancelledError also where a channel that is closed cuts the call off. Nobody cancelled the task
    then, and a handler that ends so would look as if its caller had gone: it is an error like others.
    """
    try:
        return await call
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise NoBackendError("the backend left before it answered: try again") from None

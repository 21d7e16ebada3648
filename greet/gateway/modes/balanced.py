"""Greeting over a channel of our own, which follows a pool: balanced, current, one round trip a call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from grpc import StatusCode
from grpc.aio import AioRpcError, UnaryUnaryCall

from backendpool.client import PoolCall, PoolChannel, connect
from backendpool.errors import NoBackendError
from greet.gateway.greeter import Greeter, answer_of
from greet.gateway.metrics import GatewayMetrics
from greet.greet_pb2 import GreetingRequest, GreetingResponse
from greet.greet_pb2_grpc import GreetServiceStub
from greet.settings import GatewaySettings

_TRIES: Final = 3
"""Backends that a call is sent to at most: a node takes more than one pod with it."""

Call = UnaryUnaryCall[GreetingRequest, GreetingResponse]


@asynccontextmanager
async def connected(target: str, settings: GatewaySettings, metrics: GatewayMetrics) -> AsyncIterator[Greeter]:
    """Greet by the pool that ``target`` names. Greet changes nothing, so it may be called twice."""
    async with connect(target, idempotent=True, drain=settings.grace_seconds) as channel:
        metrics.follow(channel)
        try:
            yield BalancedGreeter(channel, metrics)
        finally:
            await channel.close(settings.grace_seconds)


class BalancedGreeter:
    """Calls the backend whose turn it is.

    A call that has waited for half of its time on a backend that answers nobody is sent to another one: its node may be
    gone, and the first answer counts (gRFC A6 calls it a hedge). A backend that is slow and answers others is waited
    for, since more calls would make it no quicker.
    """

    def __init__(self, channel: PoolChannel, metrics: GatewayMetrics) -> None:
        self._channel = channel
        self._stub = GreetServiceStub(channel)
        self._metrics = metrics
        self._settled = False

    def unready(self) -> str | None:
        """Unready until the pool was read, or found missing, and each of its backends was tried once.

        Not any more after that: a gateway that has no backend says so better than one that cannot be reached.
        """
        if not self._settled:
            status = self._channel.status()
            self._settled = status.settled
            if not status.settled:
                return str(status.problem or "reading the pool and connecting to its backends for the first time")
        return None

    async def greet(self, request: GreetingRequest, timeout: float) -> GreetingResponse:
        return await self._greet(request, timeout, _TRIES)

    async def _greet(self, request: GreetingRequest, timeout: float, tries: int) -> GreetingResponse:
        call = self._stub.Greet(request, timeout=timeout)
        if tries == 1 or not isinstance(call, PoolCall):
            return await self._answer(call)
        hedge = _Hedge(partial(self._greet, request, tries=tries - 1))
        call.on_stall(hedge.begin)
        try:
            return await self._answer(call)
        except (AioRpcError, NoBackendError):
            if hedge.task is None:
                raise
            return await hedge.task
        finally:
            hedge.end()

    async def _answer(self, call: Call) -> GreetingResponse:
        code = StatusCode.OK
        try:
            return await answer_of(call)
        except AioRpcError as error:
            code = error.code()
            raise
        except (NoBackendError, asyncio.CancelledError):
            code = StatusCode.CANCELLED
            raise
        finally:
            self._metrics.called(code)


class _Hedge:
    """Another call, ``again`` within so many seconds, for one whose backend is silent."""

    __slots__ = ("_again", "task")

    def __init__(self, again: Callable[[float], Awaitable[GreetingResponse]]) -> None:
        self._again = again
        self.task: asyncio.Task[GreetingResponse] | None = None

    def begin(self, call: PoolCall) -> None:
        """Make it, in so much time as ``call`` has left; its answer ends ``call``."""
        self.task = asyncio.create_task(self._instead(call))
        self.task.add_done_callback(lambda task: task.cancelled() or task.exception())  # which may interest nobody

    def end(self) -> None:
        if self.task is not None:
            self.task.cancel()

    async def _instead(self, call: PoolCall) -> GreetingResponse:
        answer = await self._again(call.time_remaining() or 0.0)
        call.cancel()
        return answer

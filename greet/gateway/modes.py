"""The six modes of the gateway, from one sticky pod (the problem) to a balanced pool (the solution)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial
from typing import Final

import grpc.aio
from grpc import StatusCode
from grpc.aio import AioRpcError, UnaryUnaryCall

from backendpool.client import PoolCall, PoolChannel, connect
from backendpool.errors import NoBackendError
from greet.gateway.greeter import ChannelGreeter, Greeter, answer_of
from greet.gateway.lookaside import Connections, Lookaside, LookasideGreeter
from greet.gateway.metrics import GatewayMetrics
from greet.greet_pb2 import GreetingRequest, GreetingResponse
from greet.greet_pb2_grpc import GreetServiceStub
from greet.settings import GatewaySettings, Mode

_ROUND_ROBIN: Final = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})

_TRIES: Final = 3
"""Maximum attempts of a call, each on another backend. One node that fails may stall two of them."""

Call = UnaryUnaryCall[GreetingRequest, GreetingResponse]


def connected(settings: GatewaySettings, metrics: GatewayMetrics) -> AbstractAsyncContextManager[Greeter]:
    """Return the greeter of the mode in ``settings``."""
    match settings.mode:
        case Mode.STICKY:
            return sticky(settings)
        case Mode.DNS:
            return dns(settings)
        case Mode.LOOKASIDE:
            return lookaside(settings)
        case Mode.XDS:
            return xds(settings)
        case Mode.POOL:
            return pool(settings, metrics)
        case Mode.WATCH:
            return watch(settings, metrics)


@asynccontextmanager
async def sticky(settings: GatewaySettings) -> AsyncIterator[Greeter]:
    """Call GRPC_SERVER_HOST and GRPC_SERVER_PORT over one channel (the problem).

    A gRPC channel keeps one connection, and a ClusterIP chooses a pod per connection, so one pod gets all calls.
    """
    async with grpc.aio.insecure_channel(f"{settings.server_host}:{settings.server_port}") as channel:
        yield ChannelGreeter(channel)


@asynccontextmanager
async def dns(settings: GatewaySettings) -> AsyncIterator[Greeter]:
    """Call the headless Service GRPC_SVC in POD_NAMESPACE on GRPC_SERVER_PORT, with gRPC's own round robin.

    Calls are balanced, but a channel resolves the name again only if it loses a connection, so new pods get no calls.
    """
    host = f"{settings.service}.{settings.namespace}" if settings.namespace else settings.service
    target = f"dns:///{host}:{settings.server_port}"
    async with grpc.aio.insecure_channel(target, options=[("grpc.service_config", _ROUND_ROBIN)]) as channel:
        yield ChannelGreeter(channel)


@asynccontextmanager
async def lookaside(settings: GatewaySettings) -> AsyncIterator[Greeter]:
    """Ask the lookaside at LB_SVC_NAME and LB_PORT for a backend of GRPC_SVC in POD_NAMESPACE, for each call."""
    async with (
        aclosing(Connections(settings.server_port, settings.grace_seconds)) as connections,
        aclosing(Lookaside(settings)) as resolver,
    ):
        yield LookasideGreeter(resolver, connections)


@asynccontextmanager
async def xds(settings: GatewaySettings) -> AsyncIterator[Greeter]:
    """Call the pool GRPC_SVC in POD_NAMESPACE with gRPC's own xDS client, as in any other language.

    The environment variable GRPC_XDS_BOOTSTRAP names the bootstrap file.
    """
    async with grpc.aio.insecure_channel(f"xds:///{settings.service}.{settings.namespace}") as channel:
        yield ChannelGreeter(channel)


def pool(settings: GatewaySettings, metrics: GatewayMetrics) -> AbstractAsyncContextManager[Greeter]:
    """Call the pool GRPC_SVC in POD_NAMESPACE, following its status."""
    return _balanced(f"pool:///{settings.namespace}/{settings.service}", settings, metrics)


def watch(settings: GatewaySettings, metrics: GatewayMetrics) -> AbstractAsyncContextManager[Greeter]:
    """Call the pool GRPC_SVC in POD_NAMESPACE, following its lookaside at LB_SVC_NAME and LB_PORT.

    Updates arrive as fast as in mode ``pool``, without permission to read the pool.
    """
    address = f"{settings.lookaside_host}:{settings.lookaside_port}"
    return _balanced(f"lookaside://{address}/{settings.namespace}/{settings.service}", settings, metrics)


@asynccontextmanager
async def _balanced(target: str, settings: GatewaySettings, metrics: GatewayMetrics) -> AsyncIterator[Greeter]:
    # Greet changes nothing, so a retry is safe.
    async with connect(target, idempotent=True, drain_timeout=settings.grace_seconds) as channel:
        metrics.follow(channel)
        try:
            yield BalancedGreeter(channel, metrics)
        finally:
            await channel.close(settings.grace_seconds)


class BalancedGreeter:
    """Call the pool's backends with the client library.

    A call that has waited for half its deadline on a stalled backend is hedged (gRFC A6): it is sent to another
    backend, and the first answer counts. A backend that answers other calls is slow, not stalled: its calls are not
    hedged, since more calls would not make it faster.
    """

    def __init__(self, channel: PoolChannel, metrics: GatewayMetrics) -> None:
        self._channel = channel
        self._stub = GreetServiceStub(channel)
        self._metrics = metrics
        self._initialized = False

    def unready(self) -> str | None:
        """Return None once the pool was read (or found missing) and each backend was tried, else what is missing.

        After that, the gateway stays ready, since its error for an empty pool tells callers more than an unreachable
        gateway.
        """
        if not self._initialized:
            status = self._channel.status()
            self._initialized = status.initialized
            if not status.initialized:
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
    """A second call, started when the first one stalls. ``again(timeout)`` starts it; the timeout is in seconds."""

    __slots__ = ("_again", "task")

    def __init__(self, again: Callable[[float], Awaitable[GreetingResponse]]) -> None:
        self._again = again
        self.task: asyncio.Task[GreetingResponse] | None = None

    def begin(self, call: PoolCall) -> None:
        """Start the second call with the time remaining to ``call``; cancel ``call`` when the second is answered."""
        self.task = asyncio.create_task(self._instead(call))
        self.task.add_done_callback(
            lambda task: task.cancelled() or task.exception()
        )  # exception() marks the error as retrieved, so asyncio does not log it

    def end(self) -> None:
        if self.task is not None:
            self.task.cancel()

    async def _instead(self, call: PoolCall) -> GreetingResponse:
        answer = await self._again(call.time_remaining() or 0.0)
        call.cancel()
        return answer

"""The pool's status by watch, and a cached channel for each backend: balanced, current, one round trip a call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Final

from grpc import StatusCode
from grpc.aio import AioRpcError, UnaryUnaryMultiCallable

from backendpool.client.balancer import Balancer
from backendpool.client.channels import Backend
from backendpool.client.source import PoolSource
from backendpool.cluster.api import Api
from backendpool.errors import NoBackendError
from greet.gateway.greeter import Greeter, answer_of
from greet.greet_pb2 import DESCRIPTOR, GreetingRequest, GreetingResponse
from greet.settings import GatewaySettings

Called = Callable[[str, StatusCode], None]
"""Told each call's backend (``host:port``) and the status that it ended with."""

_METHOD: Final = f"/{DESCRIPTOR.services_by_name['GreetService'].full_name}/Greet"


_LEAVING: Final = frozenset({StatusCode.UNAVAILABLE, StatusCode.CANCELLED})
"""How a call ends that meets a dying connection, and one that reaches a gRPC server just as it stops."""


@asynccontextmanager
async def connected(settings: GatewaySettings, called: Called) -> AsyncIterator[Greeter]:
    """Greet by the GrpcBackendPool GRPC_SVC in POD_NAMESPACE."""
    async with await Api.connect() as api, greeting(api, settings, called) as greeter:
        yield greeter


@asynccontextmanager
async def greeting(api: Api, settings: GatewaySettings, called: Called) -> AsyncIterator[Greeter]:
    """As :func:`connected`, by a connection to the API server that is there already."""
    balancer = Balancer(f"{settings.namespace}/{settings.service}", grace=settings.grace_seconds)
    source = PoolSource(api, settings.namespace, settings.service, balancer.update)
    async with aclosing(balancer), asyncio.TaskGroup() as group:
        following = group.create_task(source.run())
        yield PoolGreeter(balancer, source, called)
        following.cancel()


class PoolGreeter:
    """Calls the backend whose turn it is.

    Greet changes nothing, so it may be called twice: a call that meets a backend as it leaves is tried once more, on
    another one.
    """

    def __init__(self, balancer: Balancer, source: PoolSource, called: Called) -> None:
        self._balancer = balancer
        self._source = source
        self._called = called

    def unready(self) -> str | None:
        """Unready until the pool was read, or found missing, and each of its backends was tried once.

        Not any more after that: a gateway that has no backend says so better than one that cannot be reached.
        """
        if self._balancer.settled:
            return None
        return str(self._source.problem or "reading the pool and connecting to its backends for the first time")

    async def greet(self, request: GreetingRequest, timeout: float) -> GreetingResponse:
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        backend = await self._balancer.pick(timeout)
        try:
            return await self._call(backend, request, deadline - clock())
        except AioRpcError as error:
            if error.code() not in _LEAVING:
                raise
            other = await self._balancer.pick(deadline - clock(), avoid=backend)
            if other is backend:
                raise
        return await self._call(other, request, deadline - clock())

    async def _call(self, backend: Backend, request: GreetingRequest, timeout: float) -> GreetingResponse:
        method: UnaryUnaryMultiCallable[GreetingRequest, GreetingResponse] = backend.unary_unary(
            _METHOD, GreetingRequest.SerializeToString, GreetingResponse.FromString
        )
        code = StatusCode.OK
        try:
            return await answer_of(method(request, timeout=timeout))
        except AioRpcError as error:
            code = error.code()
            raise
        except (NoBackendError, asyncio.CancelledError):
            code = StatusCode.CANCELLED
            raise
        finally:
            self._called(backend.endpoint.target, code)

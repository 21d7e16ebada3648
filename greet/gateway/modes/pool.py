"""The pool's status by watch, and a cached channel for each backend: balanced, current, one round trip a call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
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
from greet.gateway.metrics import GatewayMetrics
from greet.greet_pb2 import DESCRIPTOR, GreetingRequest, GreetingResponse
from greet.settings import GatewaySettings

_METHOD: Final = f"/{DESCRIPTOR.services_by_name['GreetService'].full_name}/Greet"


_LEAVING: Final = frozenset({StatusCode.UNAVAILABLE, StatusCode.CANCELLED})
"""How a call ends that meets a dying connection, and one that reaches a gRPC server just as it stops."""

_NO_ANSWER: Final = _LEAVING | {StatusCode.DEADLINE_EXCEEDED}
"""How calls also end where nobody is there."""

_TRIES: Final = 3
"""Backends that a call is sent to at most: a node takes more than one pod with it."""

_LEAST_PATIENCE: Final = 1.0
"""Seconds of silence that say nothing yet, however short the call's deadline."""


@asynccontextmanager
async def connected(settings: GatewaySettings, metrics: GatewayMetrics) -> AsyncIterator[Greeter]:
    """Greet by the GrpcBackendPool GRPC_SVC in POD_NAMESPACE."""
    async with await Api.connect() as api, greeting(api, settings, metrics) as greeter:
        yield greeter


@asynccontextmanager
async def greeting(api: Api, settings: GatewaySettings, metrics: GatewayMetrics) -> AsyncIterator[Greeter]:
    """As :func:`connected`, by a connection to the API server that is there already."""
    balancer = Balancer(f"{settings.namespace}/{settings.service}", grace=settings.grace_seconds)
    source = PoolSource(api, settings.namespace, settings.service, balancer.update)
    metrics.view_age(source.age)
    async with aclosing(balancer), asyncio.TaskGroup() as group:
        following = group.create_task(source.run())
        yield PoolGreeter(balancer, source, metrics)
        following.cancel()


class PoolGreeter:
    """Calls the backend whose turn it is.

    Greet changes nothing, so it may be called twice. A call that meets a backend as it leaves is tried on another one.
    So is a call that has waited for half of its time on a backend that answers nobody: its node may be gone, and the
    first answer counts (gRFC A6 calls it a hedge). A backend that is slow and answers others is waited for, since
    more calls would make it no quicker.
    """

    def __init__(self, balancer: Balancer, source: PoolSource, metrics: GatewayMetrics) -> None:
        self._balancer = balancer
        self._source = source
        self._metrics = metrics

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
        tried: list[Backend] = []
        calls: set[asyncio.Task[GreetingResponse]] = set()
        backend: Backend | None = await self._balancer.pick(timeout)
        try:
            while True:
                patience = None
                if backend is not None:
                    left = deadline - clock()
                    patience = max(left / 2, _LEAST_PATIENCE)
                    tried.append(backend)
                    calls.add(asyncio.create_task(self._call(backend, request, left)))
                done, calls = await asyncio.wait(calls, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                for call in done:
                    if not _is_of_a_leaver(call):
                        return call.result()
                given_up = bool(done) or self._gives_up(tried[-1], patience)
                backend = await self._another(tried, 0 if calls else deadline - clock()) if given_up else None
                if backend is None and not calls:
                    return done.pop().result()
        finally:
            for call in calls:
                call.cancel()

    def _gives_up(self, backend: Backend, patience: float | None) -> bool:
        """Whether nobody has heard of ``backend`` for that long; it is connected to anew then."""
        if patience is None or backend.silent() < patience:
            return False
        self._balancer.reconnect(backend)
        return True

    async def _another(self, tried: Collection[Backend], timeout: float) -> Backend | None:
        if len(tried) == _TRIES:
            return None
        try:
            other = await self._balancer.pick(timeout, avoid=tried)
        except NoBackendError:
            return None
        return other if other not in tried else None

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
            if code not in _NO_ANSWER:
                backend.heard()
            self._metrics.called(code)


def _is_of_a_leaver(call: asyncio.Task[GreetingResponse]) -> bool:
    error = call.exception()
    return isinstance(error, NoBackendError) or (isinstance(error, AioRpcError) and error.code() in _LEAVING)

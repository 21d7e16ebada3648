"""PoolChannel: a :class:`grpc.aio.Channel` over a pool, which any generated stub takes."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import grpc.aio
from grpc import ChannelConnectivity
from grpc.aio import ClientInterceptor

from backendpool.client._balancer import Balancer
from backendpool.client._calls import MULTICALLABLES
from backendpool.client._dispatcher import CLOSED, Dispatcher
from backendpool.client._interceptors import intercepted_channel
from backendpool.client._method import Form, Method
from backendpool.client._resolvers.resolver import ResolverTask
from backendpool.client._retry import IDEMPOTENT, RetryPolicy, RetryThrottle
from backendpool.client._service_config import ServiceConfig, parse_service_config
from backendpool.client._status import Status

Request = TypeVar("Request")
Response = TypeVar("Response")


class PoolChannel(grpc.aio.Channel):
    """A :class:`grpc.aio.Channel` over the backends of ``balancer``, which it closes.

    ``resolver`` updates the balancer; the channel starts and stops it.

    ``idempotent`` names the methods that may be executed twice (``/package.Service/Method``, True for all): their calls
    are retried on another backend. ``service_config`` is gRPC's, in JSON, and overrides ``idempotent`` for the methods
    that it names; raises :class:`SettingsError` if it is invalid. ``interceptors`` run once per call, not per attempt.

    Create it in a running event loop.
    """

    def __init__(
        self,
        balancer: Balancer,
        resolver: ResolverTask | None = None,
        *,
        interceptors: Sequence[ClientInterceptor] = (),
        idempotent: bool | Collection[str] = False,
        service_config: str | None = None,
    ) -> None:
        self._config = parse_service_config(service_config) if service_config is not None else ServiceConfig()
        self._throttle = self._config.throttle or RetryThrottle()
        self._idempotent = idempotent
        self._interceptors = interceptors
        self._intercepting: weakref.WeakSet[grpc.aio.Channel] = weakref.WeakSet()
        self._balancer = balancer
        self._resolver = resolver
        self._dispatcher = Dispatcher(balancer)
        if resolver is not None:
            resolver.start()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Take no new calls, and cancel those that are still in flight after ``grace`` seconds."""
        if grace is not None and grace < 0:
            raise ValueError(f"invalid grace {grace}: expected 0 or more")
        if self._resolver is not None:
            await self._resolver.stop()
        await asyncio.gather(self._dispatcher.close(grace), *(channel.close(grace) for channel in self._intercepting))

    def status(self) -> Status:
        """Return a snapshot of the pool and its backends."""
        resolver, (started, failed) = self._resolver, self._balancer.totals()
        return Status(
            pool=self._balancer.pool,
            age=resolver.age() if resolver is not None else 0.0,
            problem=resolver.problem if resolver is not None else None,
            initialized=self._balancer.initialized,
            calls_started=started,
            calls_failed=failed,
            view=self._balancer.view,
            backends=self._balancer.status(),
        )

    async def wait_for_change(self) -> None:
        """Wait until backends are added or removed, or the connection of one changes."""
        await self._balancer.wait_for_change()

    def get_state(self, try_to_connect: bool = False) -> ChannelConnectivity:
        """Return READY once a backend takes calls. The state is never IDLE: backends are always connected to."""
        return ChannelConnectivity.SHUTDOWN if self._dispatcher.closed else self._balancer.connectivity

    async def wait_for_state_change(self, last_observed_state: ChannelConnectivity) -> None:
        if self._dispatcher.closed:
            raise grpc.aio.UsageError(CLOSED)
        while self.get_state() is last_observed_state:
            await self._balancer.wait_for_change()

    async def channel_ready(self) -> None:
        while (state := self.get_state(try_to_connect=True)) is not ChannelConnectivity.READY:
            await self.wait_for_state_change(state)

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Request], bytes] | None = None,
        response_deserializer: Callable[[bytes], Response] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.UnaryUnaryMultiCallable[Request, Response]:
        made = self._callable("unary_unary", method, request_serializer, response_deserializer, _registered_method)
        return cast("grpc.aio.UnaryUnaryMultiCallable[Request, Response]", made)

    def unary_stream(
        self,
        method: str,
        request_serializer: Callable[[Request], bytes] | None = None,
        response_deserializer: Callable[[bytes], Response] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.UnaryStreamMultiCallable[Request, Response]:
        made = self._callable("unary_stream", method, request_serializer, response_deserializer, _registered_method)
        return cast("grpc.aio.UnaryStreamMultiCallable[Request, Response]", made)

    def stream_unary(
        self,
        method: str,
        request_serializer: Callable[[Request], bytes] | None = None,
        response_deserializer: Callable[[bytes], Response] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.StreamUnaryMultiCallable[Request, Response]:
        made = self._callable("stream_unary", method, request_serializer, response_deserializer, _registered_method)
        return cast("grpc.aio.StreamUnaryMultiCallable[Request, Response]", made)

    def stream_stream(
        self,
        method: str,
        request_serializer: Callable[[Request], bytes] | None = None,
        response_deserializer: Callable[[bytes], Response] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.StreamStreamMultiCallable[Request, Response]:
        made = self._callable("stream_stream", method, request_serializer, response_deserializer, _registered_method)
        return cast("grpc.aio.StreamStreamMultiCallable[Request, Response]", made)

    def _callable(
        self,
        form: Form,
        method: str,
        serializer: Callable[[Any], bytes] | None,
        deserializer: Callable[[bytes], Any] | None,
        registered: bool | None,
    ) -> Any:
        def make(name: str) -> Any:
            policy = self._policy(name)
            return MULTICALLABLES[form](
                Method(self._dispatcher, form, name, serializer, deserializer, bool(registered), policy, self._throttle)
            )

        if not self._interceptors:
            return make(method)
        channel = intercepted_channel(self._interceptors, make)
        self._intercepting.add(channel)
        return getattr(channel, form)(method, serializer, deserializer)

    def _policy(self, method: str) -> RetryPolicy | None:
        """Return the retry policy for attempts that may have reached a server."""
        configured = self._config.policy(method)
        if configured is not None:
            return configured
        is_idempotent = self._idempotent if isinstance(self._idempotent, bool) else method in self._idempotent
        return IDEMPOTENT if is_idempotent else None

"""Interceptors that are passed to ``connect``: they run once per call, however often it is retried.

So an interceptor that counts, signs or logs calls does so for calls and not for attempts, as in gRPC's other languages.
grpc.aio itself runs them, and they see and may do what they see and do there: each method has a channel of grpc.aio's
that never connects, whose last interceptor makes the call over the pool instead. Interceptors on the channels of
backends run once per attempt (:mod:`intercepted_call`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import grpc.aio
from grpc.aio import ClientCallDetails, ClientInterceptor

Make = Callable[[str], Any]
"""Makes the multicallable of a method by its name, which an interceptor may have changed."""

_Continuation = Callable[[ClientCallDetails, Any], Awaitable[Any]]

_NOWHERE: Final = "ipv4:0.0.0.0:0"

# Tracing agents replace grpc.aio.insecure_channel by a function that adds their interceptors. These run once per
# attempt, on the channels of backends. On this channel, which never connects, they would trace each call again.
_insecure_channel: Any = getattr(grpc.aio, "_channel", grpc.aio).insecure_channel


def intercepted_channel(interceptors: Sequence[ClientInterceptor], make: Make) -> grpc.aio.Channel:
    """A channel whose calls of any form pass through ``interceptors`` to the multicallables that ``make`` returns."""
    last = [kind(make) for kind in (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)]
    channel: grpc.aio.Channel = _insecure_channel(_NOWHERE, interceptors=[*interceptors, *last])
    return channel


class _PoolInterceptor:
    def __init__(self, make: Make) -> None:
        self._make = make
        self._made: dict[str, Any] = {}

    def _call(self, details: ClientCallDetails, request: Any) -> Any:
        name = details.method.decode() if isinstance(details.method, bytes) else details.method
        method = self._made.get(name)
        if method is None:
            method = self._made[name] = self._make(name)
        return method(
            request,
            timeout=details.timeout,
            metadata=details.metadata,
            credentials=details.credentials,
            wait_for_ready=details.wait_for_ready,
        )


class _UnaryUnary(_PoolInterceptor, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: _Continuation, client_call_details: ClientCallDetails, request: Any
    ) -> Any:
        return self._call(client_call_details, request)


class _UnaryStream(_PoolInterceptor, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(
        self, continuation: _Continuation, client_call_details: ClientCallDetails, request: Any
    ) -> Any:
        return self._call(client_call_details, request)


class _StreamUnary(_PoolInterceptor, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(
        self, continuation: _Continuation, client_call_details: ClientCallDetails, request_iterator: Any
    ) -> Any:
        return self._call(client_call_details, request_iterator)


class _StreamStream(_PoolInterceptor, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(
        self, continuation: _Continuation, client_call_details: ClientCallDetails, request_iterator: Any
    ) -> Any:
        return self._call(client_call_details, request_iterator)

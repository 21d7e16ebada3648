"""Interceptors on every channel that grpc.aio creates, as tracing agents add them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import grpc.aio
import pytest
from grpc.aio import ClientCallDetails, ClientInterceptor
from opentelemetry.instrumentation.grpc import GrpcAioInstrumentorClient
from sentry_sdk.integrations.grpc import GRPCIntegration

Intercept = Callable[[Any, ClientCallDetails, Any], Awaitable[Any]]
"""What an interceptor does, given the continuation, the call's details, and the request or requests."""


class Instrumentation(StrEnum):
    NONE = "no interceptors"
    PASSING = "interceptors that return the call"
    WAITING = "interceptors that wait for the call"
    ANSWERING = "interceptors that return responses"
    OPENTELEMETRY = "OpenTelemetry"
    SENTRY = "Sentry"


@contextmanager
def instrumented(by: Instrumentation) -> Iterator[None]:
    """Add interceptors to channels created in the context."""
    with pytest.MonkeyPatch.context() as patch:
        agent: Any = GrpcAioInstrumentorClient
        if by is Instrumentation.OPENTELEMETRY:
            agent().instrument()
        elif by is Instrumentation.SENTRY:
            _patch_by_sentry(patch)
        elif by in _OURS:
            add_interceptors(patch, of_each_form(*_OURS[by]))
        try:
            yield
        finally:
            if by is Instrumentation.OPENTELEMETRY:
                agent().uninstrument()


def add_interceptors(patch: pytest.MonkeyPatch, added: Sequence[ClientInterceptor]) -> None:
    """Make every new channel begin with the interceptors ``added``."""

    def adding(make: Callable[..., grpc.aio.Channel]) -> Callable[..., grpc.aio.Channel]:
        def made(*args: Any, interceptors: Sequence[ClientInterceptor] | None = None, **named: Any) -> grpc.aio.Channel:
            return make(*args, interceptors=[*added, *(interceptors or ())], **named)

        return made

    for name in ("insecure_channel", "secure_channel"):
        patch.setattr(grpc.aio, name, adding(getattr(grpc.aio, name)))


def of_each_form(unary: Intercept, stream: Intercept | None = None) -> list[ClientInterceptor]:
    """Return an interceptor per form: ``stream`` for streamed responses, ``unary`` for single ones."""
    return [_UnaryUnary(unary), _UnaryStream(stream or unary), _StreamUnary(unary), _StreamStream(stream or unary)]


def _patch_by_sentry(patch: pytest.MonkeyPatch) -> None:
    """Add Sentry's interceptors to asyncio channels, which Sentry itself never removes."""
    for name in ("insecure_channel", "secure_channel"):
        patch.setattr(grpc.aio, name, getattr(grpc.aio, name))
    with pytest.MonkeyPatch.context() as others:
        for module, name in (
            (grpc, "insecure_channel"),
            (grpc, "secure_channel"),
            (grpc, "intercept_channel"),
            (grpc, "server"),
            (grpc.aio, "server"),
        ):
            others.setattr(module, name, getattr(module, name))
        GRPCIntegration.setup_once()


class _Calling:
    def __init__(self, intercept: Intercept) -> None:
        self._intercept = intercept


class _UnaryUnary(_Calling, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self._intercept(continuation, client_call_details, request)


class _UnaryStream(_Calling, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self._intercept(continuation, client_call_details, request)


class _StreamUnary(_Calling, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await self._intercept(continuation, client_call_details, request_iterator)


class _StreamStream(_Calling, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await self._intercept(continuation, client_call_details, request_iterator)


async def passed(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
    return await continuation(details, request)


async def _waited_for(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
    call = await continuation(details, request)
    await call.code()
    call.add_done_callback(lambda _: None)
    return call


async def _response(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
    return await (await continuation(details, request))


async def _responses(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
    return _each(await continuation(details, request))


async def _each(call: Any) -> AsyncIterator[Any]:
    async for response in call:
        yield response


_OURS = {
    Instrumentation.PASSING: (passed, passed),
    Instrumentation.WAITING: (_waited_for, _responses),
    Instrumentation.ANSWERING: (_response, _responses),
}

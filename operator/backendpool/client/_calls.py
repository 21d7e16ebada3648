"""Calls of gRPC's four forms over a pool, and the multicallables that start them, with grpc.aio's interfaces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterable, Mapping
from typing import Any, Final, Generic, TypeVar, cast

import grpc.aio
from grpc import CallCredentials, Compression
from grpc.aio import AioRpcError

from backendpool.client._method import CallMetadata, Form, Method
from backendpool.client._pool_call import Attempt, PoolCall, ReplayableRequests

Request = TypeVar("Request")
Response = TypeVar("Response")

_Requests = AsyncIterable[Request] | Iterable[Request]


class _UnaryResponse(PoolCall, Generic[Response]):
    def __await__(self) -> Generator[Any, None, Response]:
        # The first attempt is awaited here, since one more coroutine would cost more than the rest of PoolCall.
        attempt = self._attempt
        if attempt is None:
            return cast("Response", (yield from self._perform(_response).__await__()))
        try:
            response: Response = yield from attempt.__await__()
        except AioRpcError as error:
            if not self._retry(attempt, error):
                raise
        except asyncio.CancelledError:
            if not self._survives_removal(attempt):
                self.cancel()
                raise
        else:
            self._commit()
            return response
        return cast("Response", (yield from self._perform(_response).__await__()))


class _StreamResponse(PoolCall, Generic[Response]):
    _responses: _Responses[Response] | None = None

    def __aiter__(self) -> AsyncIterator[Response]:
        if self._attempt is not None:
            aiter(self._attempt)  # raises if responses were read before
        if self._responses is None:
            self._responses = _Responses(self._perform, self._perform_committed)
        return self._responses

    def read(self) -> Coroutine[Any, Any, Response | object]:
        if self._state.committed and self._attempt is not None:
            return self._perform_committed(self._attempt.read())
        return self._perform(_read)


class _Responses(AsyncIterator[Response]):
    """Waits for the first response with retries, then passes on those of grpc.aio's own iterator."""

    __slots__ = ("_next", "_perform", "_perform_committed")

    def __init__(
        self,
        perform: Callable[[Callable[[Attempt], Awaitable[Any]]], Awaitable[Any]],
        perform_committed: Callable[[Awaitable[Response]], Awaitable[Response]],
    ) -> None:
        self._perform = perform
        self._perform_committed = perform_committed
        self._next: Callable[[], Awaitable[Response]] = self._first

    def __anext__(self) -> Awaitable[Response]:
        return self._next()

    async def _first(self) -> Response:
        responses, response = await self._perform(_first_response)
        perform_committed, further = self._perform_committed, responses.__anext__
        self._next = lambda: perform_committed(further())
        return response  # type: ignore[no-any-return]


class _StreamRequest(PoolCall, Generic[Request]):
    @property
    def _done_writing_flag(self) -> bool:
        """Read by grpc.aio if the channel has interceptors."""
        return getattr(self._attempt, "_done_writing_flag", False)

    def write(self, request: Request) -> Coroutine[Any, Any, None]:
        if self._state.committed and self._attempt is not None:
            return self._perform_committed(self._attempt.write(request))
        return self._perform(lambda attempt: attempt.write(request))

    async def done_writing(self) -> None:
        await self._perform(_done_writing)


class UnaryUnaryCall(_UnaryResponse[Response], grpc.aio.UnaryUnaryCall[Request, Response], Generic[Request, Response]):
    """One request, one response."""


class UnaryStreamCall(
    _StreamResponse[Response], grpc.aio.UnaryStreamCall[Request, Response], Generic[Request, Response]
):
    """One request, many responses."""


class StreamUnaryCall(
    _StreamRequest[Request],
    _UnaryResponse[Response],
    grpc.aio.StreamUnaryCall[Request, Response],
    Generic[Request, Response],
):
    """Many requests, one response."""


class StreamStreamCall(
    _StreamRequest[Request],
    _StreamResponse[Response],
    grpc.aio.StreamStreamCall[Request, Response],
    Generic[Request, Response],
):
    """Many requests, many responses."""


class _MultiCallable(Generic[Request, Response]):
    __slots__ = ("_method",)

    def __init__(self, method: Method) -> None:
        self._method = method


class UnaryUnaryMultiCallable(_MultiCallable[Request, Response], grpc.aio.UnaryUnaryMultiCallable[Request, Response]):
    def __call__(
        self,
        request: Request,
        *,
        timeout: float | None = None,
        metadata: CallMetadata | None = None,
        credentials: CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: Compression | None = None,
    ) -> UnaryUnaryCall[Request, Response]:
        return UnaryUnaryCall(self._method, request, timeout, (metadata, credentials, compression), wait_for_ready)


class UnaryStreamMultiCallable(_MultiCallable[Request, Response], grpc.aio.UnaryStreamMultiCallable[Request, Response]):
    def __call__(
        self,
        request: Request,
        *,
        timeout: float | None = None,
        metadata: CallMetadata | None = None,
        credentials: CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: Compression | None = None,
    ) -> UnaryStreamCall[Request, Response]:
        return UnaryStreamCall(self._method, request, timeout, (metadata, credentials, compression), wait_for_ready)


class StreamUnaryMultiCallable(_MultiCallable[Request, Response], grpc.aio.StreamUnaryMultiCallable[Request, Response]):
    def __call__(
        self,
        request_iterator: _Requests[Request] | None = None,
        timeout: float | None = None,
        metadata: CallMetadata | None = None,
        credentials: CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: Compression | None = None,
    ) -> StreamUnaryCall[Request, Response]:
        requests = ReplayableRequests(request_iterator) if request_iterator is not None else None
        return StreamUnaryCall(self._method, requests, timeout, (metadata, credentials, compression), wait_for_ready)


class StreamStreamMultiCallable(
    _MultiCallable[Request, Response], grpc.aio.StreamStreamMultiCallable[Request, Response]
):
    def __call__(
        self,
        request_iterator: _Requests[Request] | None = None,
        timeout: float | None = None,
        metadata: CallMetadata | None = None,
        credentials: CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: Compression | None = None,
    ) -> StreamStreamCall[Request, Response]:
        requests = ReplayableRequests(request_iterator) if request_iterator is not None else None
        return StreamStreamCall(self._method, requests, timeout, (metadata, credentials, compression), wait_for_ready)


MULTICALLABLES: Final[Mapping[Form, Callable[[Method], Any]]] = {
    "unary_unary": UnaryUnaryMultiCallable,
    "unary_stream": UnaryStreamMultiCallable,
    "stream_unary": StreamUnaryMultiCallable,
    "stream_stream": StreamStreamMultiCallable,
}


async def _response(attempt: Attempt) -> Any:
    return await attempt


async def _read(attempt: Attempt) -> Any:
    return await attempt.read()


async def _done_writing(attempt: Attempt) -> None:
    await attempt.done_writing()


async def _first_response(attempt: Attempt) -> tuple[AsyncIterator[Any], Any]:
    responses = aiter(attempt)
    return responses, await anext(responses)

"""The calls of gRPC's four forms over a pool (:mod:`calls`), with the interfaces that grpc.aio gives them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar, cast

import grpc.aio
from grpc.aio import AioRpcError

from backendpool.client.attempt import Native
from backendpool.client.calls import PoolCall

Request = TypeVar("Request")
Response = TypeVar("Response")


class _UnaryResponse(PoolCall, Generic[Response]):
    def __await__(self) -> Generator[Any, None, Response]:
        call = self._call
        if call is None:
            return cast("Response", (yield from self._perform(_response).__await__()))
        try:
            response: Response = yield from call.__await__()
        except AioRpcError as error:
            if not self._repeats(call, error):
                raise
        except asyncio.CancelledError:
            if not self._is_resumed(call):
                self.cancel()
                raise
        else:
            self._settle()
            return response
        return cast("Response", (yield from self._perform(_response).__await__()))


class _StreamResponse(PoolCall, Generic[Response]):
    _responses: _Responses[Response] | None = None

    def __aiter__(self) -> AsyncIterator[Response]:
        if self._call is not None:
            aiter(self._call)  # which fails if responses were read before
        if self._responses is None:
            self._responses = _Responses(self._perform, self._go_on)
        return self._responses

    def read(self) -> Coroutine[Any, Any, Response | object]:
        if self._settled and self._call is not None:
            return self._go_on(self._call.read())
        return self._perform(_read)


class _Responses(AsyncIterator[Response]):
    """Waits for the first response, with all that may take, and goes on with grpc.aio's own iterator."""

    __slots__ = ("_go_on", "_next", "_perform")

    def __init__(
        self,
        perform: Callable[[Callable[[Native], Awaitable[Any]]], Awaitable[Any]],
        go_on: Callable[[Awaitable[Response]], Awaitable[Response]],
    ) -> None:
        self._perform = perform
        self._go_on = go_on
        self._next: Callable[[], Awaitable[Response]] = self._first

    def __anext__(self) -> Awaitable[Response]:
        return self._next()

    async def _first(self) -> Response:
        responses, response = await self._perform(_first_response)
        go_on, further = self._go_on, responses.__anext__
        self._next = lambda: go_on(further())
        return response  # type: ignore[no-any-return]


class _StreamRequest(PoolCall, Generic[Request]):
    @property
    def _done_writing_flag(self) -> bool:
        """Asked for by grpc.aio where there are interceptors."""
        return getattr(self._call, "_done_writing_flag", False)

    def write(self, request: Request) -> Coroutine[Any, Any, None]:
        if self._settled and self._call is not None:
            return self._go_on(self._call.write(request))
        return self._perform(lambda call: call.write(request))

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


async def _response(call: Native) -> Any:
    return await call


async def _read(call: Native) -> Any:
    return await call.read()


async def _done_writing(call: Native) -> None:
    await call.done_writing()


async def _first_response(call: Native) -> tuple[AsyncIterator[Any], Any]:
    responses = aiter(call)
    return responses, await anext(responses)

"""What interceptors return instead of a call, as calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator
from typing import Any, Final

import grpc.aio
from grpc import StatusCode

from backendpool.client.ended import STYLES_MIXED, EndedCall
from backendpool.client.outcome import now

_SUCCEEDED: Final = EndedCall(StatusCode.OK, "")


class _Returned:
    """What an interceptor returned instead of a call. Everything else is delegated to ``call``."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        self._call.add_done_callback(lambda _: callback(self))


@grpc.aio.UnaryUnaryCall.register
@grpc.aio.StreamUnaryCall.register
class Response(_Returned):
    """A single response. The call succeeded, even if the call that was sent failed."""

    def __init__(self, response: Any, sent: Any) -> None:
        succeeded = sent is not None and sent.done() and now(sent.code()) is StatusCode.OK
        super().__init__(sent if succeeded else _SUCCEEDED)
        self._response = response

    def __await__(self) -> Generator[Any, None, Any]:
        yield from ()
        return self._response


@grpc.aio.UnaryStreamCall.register
@grpc.aio.StreamStreamCall.register
class Responses(_Returned):
    """An iterator of responses, usually over those of the call that was sent."""

    def __init__(self, responses: AsyncIterable[Any], sent: Any) -> None:
        super().__init__(sent or _SUCCEEDED)
        self._responses = aiter(responses)
        self._is_read: bool | None = None
        self._error: BaseException | None = None

    def __aiter__(self) -> AsyncIterator[Any]:
        self._use(by_reading=False)
        return self._responses

    async def read(self) -> Any:
        self._use(by_reading=True)
        if self._error is not None:
            raise self._error  # again, as grpc.aio's calls do; the iterator is exhausted
        try:
            return await anext(self._responses)
        except StopAsyncIteration:
            return grpc.aio.EOF
        except (Exception, asyncio.CancelledError) as error:
            self._error = error
            raise

    def _use(self, *, by_reading: bool) -> None:
        if self._is_read is None:
            self._is_read = by_reading
        elif self._is_read is not by_reading:
            raise grpc.aio.UsageError(STYLES_MIXED)

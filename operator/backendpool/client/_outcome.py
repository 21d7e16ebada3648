"""Outcomes of calls: of those that have ended without grpc.aio, and of grpc.aio's own without waiting.

A call ends without grpc.aio if it found no backend, if its backend was removed, or if an interceptor raised an error.
grpc.aio offers outcomes by coroutines only, which return at once for a call that is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from typing import Any, Final, NoReturn, TypeVar

from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata

from backendpool.errors import NoBackendError

T = TypeVar("T")

# grpc.aio's own words.
LOCALLY_CANCELLED: Final = "Locally cancelled by application!"
ALREADY_FINISHED: Final = "RPC already finished."


def now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that never waits, as those of a call that is done."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("a call that is done has its outcome")


def error_of(call: Any) -> AioRpcError | None:
    """The error that awaiting ``call``, which is done, raises.

    None if it succeeded, or if an interceptor raised an error other than :class:`grpc.aio.AioRpcError`.
    """
    try:
        code = now(call.code())
    except Exception:  # noqa: BLE001  (the call raises it)
        return None
    if code is StatusCode.OK:
        return None
    return AioRpcError(
        code,
        now(call.initial_metadata()),
        now(call.trailing_metadata()),
        now(call.details()),
        now(call.debug_error_string()),
    )


class NoBackend(AioRpcError, NoBackendError):
    """The error of a call for which there was no backend, or whose backend was removed: UNAVAILABLE, and why."""

    def __str__(self) -> str:
        return self.details() or ""


class FinishedCall:
    """A call that has ended with ``code`` and no response, with the methods of all four call classes of grpc.aio."""

    __slots__ = ("_code", "_details")

    def __init__(self, code: StatusCode, details: str) -> None:
        self._code = code
        self._details = details

    def done(self) -> bool:
        return True

    def cancel(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return self._code is StatusCode.CANCELLED

    def time_remaining(self) -> float | None:
        return None

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        callback(self)

    async def initial_metadata(self) -> Metadata:
        return Metadata()

    async def trailing_metadata(self) -> Metadata:
        return Metadata()

    async def code(self) -> StatusCode:
        return self._code

    async def details(self) -> str:
        return self._details

    async def debug_error_string(self) -> str:
        return self._details

    async def wait_for_connection(self) -> None:
        if self._code is not StatusCode.OK:
            self._fail()

    async def read(self) -> NoReturn:
        self._fail()

    async def write(self, _request: object) -> None:
        raise asyncio.InvalidStateError(ALREADY_FINISHED)

    async def done_writing(self) -> None:
        pass

    def __await__(self) -> Generator[None, None, NoReturn]:
        yield from ()
        self._fail()

    async def __aiter__(self) -> AsyncIterator[NoReturn]:
        self._fail()
        yield

    def error(self) -> AioRpcError:
        """The error that awaiting it raises, unless it is cancelled."""
        kind = NoBackend if self._code is StatusCode.UNAVAILABLE else AioRpcError
        return kind(self._code, Metadata(), Metadata(), self._details, self._details)

    def _fail(self) -> NoReturn:
        if self.cancelled():
            raise asyncio.CancelledError
        raise self.error()


class RaisedCall(FinishedCall):
    """A call whose interceptors raised ``error``, an :class:`~grpc.aio.AioRpcError` or any other."""

    __slots__ = ("_error",)

    def __init__(self, error: Exception) -> None:
        super().__init__(StatusCode.UNKNOWN, "")
        self._error = error

    def cancelled(self) -> bool:
        return isinstance(self._error, AioRpcError) and self._error.code() is StatusCode.CANCELLED

    async def initial_metadata(self) -> Metadata:
        return self.error().initial_metadata()

    async def trailing_metadata(self) -> Metadata:
        return self.error().trailing_metadata()

    async def code(self) -> StatusCode:
        return self.error().code()

    async def details(self) -> str:
        return self.error().details() or ""

    async def debug_error_string(self) -> str:
        return self.error().debug_error_string() or ""

    async def write(self, _request: object) -> None:
        self.error()
        raise asyncio.InvalidStateError(ALREADY_FINISHED)

    def error(self) -> AioRpcError:
        """Return gRPC's error; raises any other."""
        if isinstance(self._error, AioRpcError):
            return self._error
        raise self._error

    def _fail(self) -> NoReturn:
        raise self._error


CANCELLED: Final = FinishedCall(StatusCode.CANCELLED, LOCALLY_CANCELLED)

BACKEND_REMOVED: Final = FinishedCall(StatusCode.UNAVAILABLE, "the backend was removed before it answered")

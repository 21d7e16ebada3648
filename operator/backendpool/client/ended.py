"""Calls that end without grpc.aio: no backend took them, or an interceptor raised an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any, Final, NoReturn

from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata

from backendpool.client.outcome import now
from backendpool.client.subchannel import Subchannel
from backendpool.errors import NoBackendError

# grpc.aio's own words.
LOCALLY_CANCELLED: Final = "Locally cancelled by application!"
ALREADY_FINISHED: Final = "RPC already finished."
HALF_CLOSED: Final = 'RPC is half closed after calling "done_writing".'
STYLES_MIXED: Final = "The iterator and read/write APIs may not be mixed on a single RPC."


class NoBackend(AioRpcError, NoBackendError):
    """How a call fails that no backend took, or whose backend left: UNAVAILABLE, and a sentence."""

    def __str__(self) -> str:
        return self.details() or ""


class EndedCall:
    """Behaves as grpc.aio's calls of all four forms do after they ended with ``code`` and no response."""

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
        """Nothing is written to it any more."""

    def __await__(self) -> Generator[None, None, NoReturn]:
        yield from ()
        self._fail()

    async def __aiter__(self) -> AsyncIterator[NoReturn]:
        self._fail()
        yield

    def error(self) -> AioRpcError:
        """As whoever awaits it is told."""
        kind = NoBackend if self._code is StatusCode.UNAVAILABLE else AioRpcError
        return kind(self._code, Metadata(), Metadata(), self._details, self._details)

    def _fail(self) -> NoReturn:
        if self.cancelled():
            raise asyncio.CancelledError
        raise self.error()


class RaisedCall(EndedCall):
    """A call whose interceptors raised ``error``, an :class:`~grpc.aio.AioRpcError` or any other."""

    __slots__ = ("_error",)

    def __init__(self, error: Exception) -> None:
        super().__init__(StatusCode.UNKNOWN, "")
        self._error = error

    def cancelled(self) -> bool:
        return isinstance(self._error, AioRpcError) and self._error.code() is StatusCode.CANCELLED

    async def initial_metadata(self) -> Metadata:
        return self._status().initial_metadata()

    async def trailing_metadata(self) -> Metadata:
        return self._status().trailing_metadata()

    async def code(self) -> StatusCode:
        return self._status().code()

    async def details(self) -> str:
        return self._status().details() or ""

    async def debug_error_string(self) -> str:
        return self._status().debug_error_string() or ""

    async def write(self, _request: object) -> None:
        self._status()
        raise asyncio.InvalidStateError(ALREADY_FINISHED)

    def error(self) -> AioRpcError:
        return self._status()

    def _status(self) -> AioRpcError:
        if isinstance(self._error, AioRpcError):
            return self._error
        raise self._error

    def _fail(self) -> NoReturn:
        raise self._error


CANCELLED: Final = EndedCall(StatusCode.CANCELLED, LOCALLY_CANCELLED)

CUT: Final = EndedCall(StatusCode.UNAVAILABLE, "the backend left before it answered")


def is_cut(call: Any, backend: Subchannel) -> bool:
    """Whether gRPC has cancelled ``call``, as it does with those of a backend that left once their grace is over."""
    return backend.removed and call.cancelled() and now(call.details()) == LOCALLY_CANCELLED

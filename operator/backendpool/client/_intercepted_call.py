"""Attempts on a backend whose channel has interceptors, as tracing agents add to every channel of a process.

The interceptors run once per attempt; those that are passed to ``connect`` run once per call (:mod:`interceptors`).
This module runs them instead of grpc.aio, whose intercepted calls lack what a pool needs. If such a call is cancelled
while an interceptor waits for its end, the server does not learn of it. If a task that awaits ``call.code()`` is
cancelled, the call is cancelled too. ``done()`` and ``cancelled()`` do not show the cancellation, and
``time_remaining()`` is not implemented. Here grpc.aio makes a plain call, which can be cancelled and counted whatever
the interceptors do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Generator, Sequence
from contextvars import copy_context
from functools import partial
from typing import Any, Final

import grpc.aio
from grpc import CallCredentials, Compression, StatusCode
from grpc.aio import ClientCallDetails, Metadata

from backendpool.client._dispatcher import Waiting
from backendpool.client._outcome import (
    ALREADY_FINISHED,
    CANCELLED,
    LOCALLY_CANCELLED,
    FinishedCall,
    RaisedCall,
    error_of,
    now,
)
from backendpool.client._retry import unsent
from backendpool.client._subchannel import Subchannel, target_uri

_SUCCEEDED: Final = FinishedCall(StatusCode.OK, "")

# grpc.aio's own words.
_HALF_CLOSED: Final = 'RPC is half closed after calling "done_writing".'
_STYLES_MIXED: Final = "The iterator and read/write APIs may not be mixed on a single RPC."


def take_interceptors(callable_: Any) -> Sequence[Any]:
    """Remove the interceptors from a multicallable of grpc.aio and return them; empty if it has none."""
    # Agents replace grpc.aio.insecure_channel and secure_channel by functions that add interceptors. grpc.aio has no
    # public API to find these.
    interceptors: Sequence[Any] = getattr(callable_, "_interceptors", None) or ()
    if interceptors:
        callable_._interceptors = []
    return interceptors


class InterceptedMethod:
    """The method ``name`` of ``backend``, called in ``form`` through ``interceptors``.

    ``bind`` makes the multicallable of a method by its name, which an interceptor may change. ``waiting`` holds the
    calls that are not sent yet.
    """

    __slots__ = ("_bind", "_plain", "backend", "form", "interceptors", "name", "waiting")

    def __init__(
        self,
        backend: Subchannel,
        form: str,
        name: str,
        interceptors: Sequence[Any],
        bind: Callable[[str], Any],
        waiting: set[Waiting],
    ) -> None:
        self.backend = backend
        self.form = form
        self.name = name
        self.interceptors = interceptors
        self.waiting = waiting
        self._bind = bind
        self._plain: dict[str, Any] = {}

    def plain(self, name: str) -> Any:
        """The multicallable of the method ``name`` without interceptors."""
        plain = self._plain.get(name)
        if plain is None:
            plain = self._plain[name] = self._bind(name)
            take_interceptors(plain)
        return plain

    def intercept(self, interceptor: Any) -> Callable[..., Coroutine[Any, Any, Any]]:
        """The method of ``interceptor`` for calls of this form."""
        method: Callable[..., Coroutine[Any, Any, Any]] = getattr(interceptor, f"intercept_{self.form}")
        return method


class InterceptedCall:
    """A call of ``method`` that behaves as grpc.aio's calls of all four forms do without interceptors.

    An error that an interceptor raises is raised by every method that returns the response or the status. ``sent`` is
    the last call that the interceptors sent, None before. ``context`` is the context in which the call was made.
    """

    def __init__(
        self,
        method: InterceptedMethod,
        request: Any,
        *,
        timeout: float | None,
        metadata: Any,
        credentials: CallCredentials | None,
        compression: Compression | None,
    ) -> None:
        self.context = copy_context()
        self.sent: grpc.aio.Call | None = None
        self._method = method
        self._compression = compression
        self._writer: _RequestWriter | None = None
        self._streams_requests = method.form.startswith("stream")
        if request is None and self._streams_requests:
            request = self._writer = _RequestWriter()
        self._callbacks: list[Callable[[Any], object]] = []
        self._returned: Any = None  # by the interceptors: a call
        self._sent, self._has_returned = asyncio.Event(), asyncio.Event()
        method.waiting.add(self)
        name: Any = method.name.encode()  # grpc.aio's details have bytes, though its types say str
        # A copy: some interceptors add to it in place, and the next attempt uses the same metadata.
        details = ClientCallDetails(name, timeout, Metadata(*(metadata or ())), credentials, None)
        self._task = asyncio.get_running_loop().create_task(self._run(details, request))
        self._task.add_done_callback(self._interceptors_ended)

    async def wait_until_sent(self) -> None:
        """Wait until it was sent or has ended."""
        await self._sent.wait()

    def cancel(self) -> bool:
        if self._returned is not None:
            return bool(self._returned.cancel())
        if self.sent is not None and self.sent.cancel():
            # An interceptor that waits for the end of the call sees it and can end its span before it is cancelled.
            self._task.get_loop().call_soon(self._task.cancel)
        else:
            self._task.cancel()
        self._return(CANCELLED)
        return True

    def done(self) -> bool:
        return self._returned is not None and bool(self._returned.done())

    def cancelled(self) -> bool:
        return self._returned is not None and bool(self._returned.cancelled())

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        if self.done():
            callback(self)
        else:
            self._callbacks.append(callback)

    async def initial_metadata(self) -> Any:
        await self._sent.wait()
        if self._returned is None and self.sent is not None:
            # Do not wait for an interceptor that waits for the end: the client may need the headers before.
            metadata = await self.sent.initial_metadata()
            if not self.sent.done():
                return metadata
        return await (await self._result()).initial_metadata()

    async def trailing_metadata(self) -> Any:
        return await (await self._result()).trailing_metadata()

    async def code(self) -> Any:
        return await (await self._result()).code()

    async def details(self) -> Any:
        return await (await self._result()).details()

    async def debug_error_string(self) -> Any:
        return await (await self._result()).debug_error_string()

    async def wait_for_connection(self) -> None:
        await self._sent.wait()
        if self._returned is None and self._streams_requests and await _connects(self.sent, self._has_returned):
            return
        await (await self._result()).wait_for_connection()

    def __await__(self) -> Generator[Any, None, Any]:
        return self._response().__await__()

    async def _response(self) -> Any:
        return await (await self._result())

    def __aiter__(self) -> AsyncIterator[Any]:
        return aiter(self._returned) if self._returned is not None else self._responses()

    async def _responses(self) -> AsyncIterator[Any]:
        async for response in await self._result():
            yield response

    async def read(self) -> Any:
        return await (await self._result()).read()

    async def write(self, request: Any) -> None:
        writer = self._writable()
        if self.done():
            raise asyncio.InvalidStateError(ALREADY_FINISHED)
        if not await writer.put(request):
            await self._raise_for_status()

    async def done_writing(self) -> None:
        writer = self._writable()
        writer.ended = True
        if not self.done():
            # If requests end before the call is connected and it cannot be, grpc.aio cancels it.
            await self.wait_for_connection()
        writer.end()

    @property
    def _done_writing_flag(self) -> bool:
        """Read by grpc.aio if the channel has interceptors."""
        return self._writer is not None and self._writer.ended

    async def _run(self, details: ClientCallDetails, request: Any) -> Any:
        try:
            return await self._pass(self._method.interceptors, details, request)
        except asyncio.CancelledError:
            return CANCELLED
        except Exception as error:  # noqa: BLE001  (the call raises it)
            return RaisedCall(error)

    async def _pass(self, interceptors: Sequence[Any], client_call_details: ClientCallDetails, request: Any) -> Any:
        """Run ``interceptors`` and return what the first of them returns, as a call."""
        if not interceptors:
            return self._send(client_call_details, request)
        first, *others = interceptors
        returned = await self._method.intercept(first)(partial(self._pass, others), client_call_details, request)
        if isinstance(returned, grpc.aio.Call):
            return returned
        # Interceptors may return a response, or an iterator of responses, instead of a call.
        return (_Responses if self._method.form.endswith("stream") else _Response)(returned, self.sent)

    def _send(self, details: ClientCallDetails, request: Any) -> grpc.aio.Call:
        """Send the call with the details that the interceptors chose."""
        if self._returned is not None:
            raise asyncio.CancelledError  # an interceptor has ignored it before
        name = details.method.decode() if isinstance(details.method, bytes) else details.method
        backend = self._method.backend
        try:
            call: grpc.aio.Call = self._method.plain(name)(
                request,
                timeout=details.timeout,
                metadata=details.metadata,
                credentials=details.credentials,
                wait_for_ready=details.wait_for_ready,
                compression=self._compression,
            )
        except grpc.aio.UsageError:
            if not backend.removed:
                raise
            raise FinishedCall(StatusCode.UNAVAILABLE, unsent(target_uri(backend.endpoint))).error() from None
        if backend.observer is not None:
            backend.track(call)
        self.sent = call
        self._method.waiting.discard(self)
        self._sent.set()
        return call

    def _interceptors_ended(self, task: asyncio.Task[Any]) -> None:
        # A task that was cancelled before its first step has no result.
        self._return(CANCELLED if task.cancelled() else task.result())

    def _return(self, call: Any) -> None:
        """Delegate to ``call`` from now on, unless this call was cancelled before."""
        if self._returned is not None:
            return
        self._returned = call
        self._method.waiting.discard(self)
        self._sent.set()
        self._has_returned.set()
        if call.done():
            self._ended(call)
        else:
            call.add_done_callback(self._ended)

    def _ended(self, _call: Any) -> None:
        if self._writer is not None:
            self._writer.close()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    async def _result(self) -> Any:
        """Wait for what the interceptors return. Cancelling the wait does not cancel the call."""
        if self._returned is None:
            await self._has_returned.wait()
        return self._returned

    def _writable(self) -> _RequestWriter:
        if self._writer is None:
            raise grpc.aio.UsageError(_STYLES_MIXED)
        return self._writer

    async def _raise_for_status(self) -> None:
        if await self.code() is StatusCode.OK:
            return
        if self.cancelled() and await self.details() == LOCALLY_CANCELLED:
            raise asyncio.CancelledError
        raise error_of(self) or AssertionError


class _RequestWriter(AsyncIterator[Any]):
    """An iterator over written requests, as interceptors expect it. ``ended`` is set once no more will be written."""

    def __init__(self) -> None:
        self.ended = False
        self._written: asyncio.Queue[tuple[Any, asyncio.Future[bool]] | None] = asyncio.Queue()
        self._not_sent: set[asyncio.Future[bool]] = set()
        self._last: asyncio.Future[bool] | None = None

    async def put(self, request: Any) -> bool:
        """Wait until ``request`` is sent; returns False if the call ended before.

        Raises :class:`asyncio.InvalidStateError` once ``ended`` is set.
        """
        if self.ended:
            raise asyncio.InvalidStateError(_HALF_CLOSED)
        sent: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._not_sent.add(sent)
        self._written.put_nowait((request, sent))
        return await sent

    def end(self) -> None:
        """End the iterator after the requests that were put."""
        self._written.put_nowait(None)

    def close(self) -> None:
        """Wake all :meth:`put` that wait: the call has ended."""
        for sent in self._not_sent:
            if not sent.done():
                sent.set_result(False)

    async def __anext__(self) -> Any:
        # grpc.aio asks for the next request once the previous one is sent.
        if self._last is not None:
            self._not_sent.discard(self._last)
            if not self._last.done():
                self._last.set_result(True)
        written = await self._written.get()
        if written is None:
            raise StopAsyncIteration
        request, self._last = written
        return request


class _Returned:
    """A result of an interceptor that is no call. Everything else is delegated to ``call``."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        self._call.add_done_callback(lambda _: callback(self))


@grpc.aio.UnaryUnaryCall.register
@grpc.aio.StreamUnaryCall.register
class _Response(_Returned):
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
class _Responses(_Returned):
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
            raise grpc.aio.UsageError(_STYLES_MIXED)


async def _connects(stream: Any, ended: asyncio.Event) -> bool:
    """Wait until ``stream``, a call with a stream of requests, is connected.

    Returns False if it fails or ``ended`` is set before. ``wait_for_connection()`` of grpc.aio alone never returns if
    such a call is cancelled.
    """
    connected = asyncio.ensure_future(_is_connected(stream))
    waiting = asyncio.ensure_future(ended.wait())
    try:
        await asyncio.wait((connected, waiting), return_when=asyncio.FIRST_COMPLETED)
        return connected.done() and not connected.cancelled() and connected.result()
    finally:
        connected.cancel()
        waiting.cancel()


async def _is_connected(call: Any) -> bool:
    try:
        await call.wait_for_connection()
    except grpc.aio.AioRpcError:
        return False
    return True

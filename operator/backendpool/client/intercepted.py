"""Calls on a backend whose channel has interceptors, such as tracing agents add to every channel of a process.

The interceptors run once per attempt. This module runs them instead of grpc.aio, whose intercepted calls lack what a
pool needs. While an interceptor waits for the end of such a call, cancelling it does not reach the server, and
cancelling a task that waits for its code cancels the call. ``done()`` and ``cancelled()`` do not show the cancellation,
and ``time_remaining()`` is not implemented. Here grpc.aio makes a plain call, which can be cancelled and counted
whatever the interceptors do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from contextvars import copy_context
from functools import partial
from typing import Any

import grpc.aio
from grpc import CallCredentials, Compression, StatusCode
from grpc.aio import ClientCallDetails, Metadata

from backendpool.client.ended import (
    ALREADY_FINISHED,
    CANCELLED,
    LOCALLY_CANCELLED,
    STYLES_MIXED,
    EndedCall,
    RaisedCall,
)
from backendpool.client.intercepted_method import InterceptedMethod
from backendpool.client.interceptor_results import Response, Responses
from backendpool.client.outcome import connects, error_of
from backendpool.client.request_writer import RequestWriter
from backendpool.client.retry import unsent
from backendpool.client.subchannel import target_uri


class InterceptedCall:
    """A call of ``method`` that behaves as grpc.aio's calls of all four forms do without interceptors.

    An error that an interceptor raises is raised by everything that asks for the response or for the status. ``sent``
    is the last call that the interceptors sent, None before. ``context`` is the context in which the call was made.
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
        self._writer: RequestWriter | None = None
        self._streams_requests = method.form.startswith("stream")
        if request is None and self._streams_requests:
            request = self._writer = RequestWriter()
        self._callbacks: list[Callable[[Any], object]] = []
        self._returned: Any = None  # by the interceptors: a call
        self._sent, self._has_returned = asyncio.Event(), asyncio.Event()
        method.waiting.add(self)
        name: Any = method.name.encode()  # grpc.aio's details have bytes, though its types say str
        # A copy: some interceptors add to it in place, and the next attempt uses the same metadata.
        details = ClientCallDetails(name, timeout, Metadata(*(metadata or ())), credentials, None)
        self._task = asyncio.get_running_loop().create_task(self._run(details, request))
        self._task.add_done_callback(self._interceptors_ended)

    async def wait(self) -> None:
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
        return await (await self._answer()).initial_metadata()

    async def trailing_metadata(self) -> Any:
        return await (await self._answer()).trailing_metadata()

    async def code(self) -> Any:
        return await (await self._answer()).code()

    async def details(self) -> Any:
        return await (await self._answer()).details()

    async def debug_error_string(self) -> Any:
        return await (await self._answer()).debug_error_string()

    async def wait_for_connection(self) -> None:
        await self._sent.wait()
        if self._returned is None and self._streams_requests and await connects(self.sent, self._has_returned):
            return
        await (await self._answer()).wait_for_connection()

    def __await__(self) -> Generator[Any, None, Any]:
        return self._response().__await__()

    async def _response(self) -> Any:
        return await (await self._answer())

    def __aiter__(self) -> AsyncIterator[Any]:
        return aiter(self._returned) if self._returned is not None else self._responses()

    async def _responses(self) -> AsyncIterator[Any]:
        async for response in await self._answer():
            yield response

    async def read(self) -> Any:
        return await (await self._answer()).read()

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
        """Asked for by grpc.aio where there are interceptors."""
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
        returned = await self._method.of(first)(partial(self._pass, others), client_call_details, request)
        if isinstance(returned, grpc.aio.Call):
            return returned
        # Interceptors may return a response, or an iterator of responses, instead of a call.
        return (Responses if self._method.form.endswith("stream") else Response)(returned, self.sent)

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
            raise EndedCall(StatusCode.UNAVAILABLE, unsent(target_uri(backend.endpoint))).error() from None
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

    async def _answer(self) -> Any:
        """Wait for what the interceptors return. Cancelling the wait does not cancel the call."""
        if self._returned is None:
            await self._has_returned.wait()
        return self._returned

    def _writable(self) -> RequestWriter:
        if self._writer is None:
            raise grpc.aio.UsageError(STYLES_MIXED)
        return self._writer

    async def _raise_for_status(self) -> None:
        if await self.code() is StatusCode.OK:
            return
        if self.cancelled() and await self.details() == LOCALLY_CANCELLED:
            raise asyncio.CancelledError
        raise error_of(self) or AssertionError

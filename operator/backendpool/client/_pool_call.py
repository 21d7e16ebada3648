"""One call over a pool, driven by grpc.aio: one call of grpc.aio's per attempt, as :mod:`retry` decides.

Nobody retries a call in the background: an attempt that failed is replaced when someone waits for the call or asks for
its state. While a backend is connected, the first attempt starts at once and costs little more than a call of
grpc.aio's. Otherwise, and before each retry, a task waits for a backend.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, Final, Generic, TypeVar

from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata

from backendpool.client._balancer import PickTimeout
from backendpool.client._intercepted_call import InterceptedCall
from backendpool.client._method import Method, Options
from backendpool.client._outcome import BACKEND_REMOVED, CANCELLED, LOCALLY_CANCELLED, FinishedCall, error_of, now
from backendpool.client._retry import FIRST_ATTEMPT, CallState, PickDecision, RetryDecision
from backendpool.client._stall_timer import Bucket, stall_timeout
from backendpool.client._subchannel import Subchannel, target_uri
from backendpool.errors import NoBackendError

T = TypeVar("T")

Attempt = Any
"""Call of one attempt: grpc.aio's own, an :class:`InterceptedCall` or a :class:`FinishedCall`.

What it offers depends on the form of the call, which no type says.
"""

_RECHECK: Final = 0.05
"""Seconds in which the balancer notices a lost connection that a call has already met."""

_NO_REQUEST: Final = object()


class ReplayableRequests(Generic[T]):
    """A stream of requests that can be sent again until it is ``spent``.

    grpc.aio takes the first request before there is a connection, and the second once the first was sent. So the first
    is kept, and asking for the second means that the call was sent.
    """

    __slots__ = ("_first", "_lock", "_source", "spent")

    def __init__(self, source: AsyncIterable[T] | Iterable[T]) -> None:
        self.spent = False
        self._source = aiter(source if isinstance(source, AsyncIterable) else _async_iterator(source))
        self._first: T | object = _NO_REQUEST
        # A failed attempt may still wait for the first request when the next attempt asks for it.
        self._lock = asyncio.Lock()

    async def __aiter__(self) -> AsyncIterator[T]:
        async with self._lock:
            if self._first is _NO_REQUEST:
                self._first = await anext(self._source, _NO_REQUEST)
        if self._first is _NO_REQUEST:
            return
        yield self._first  # type: ignore[misc]
        self.spent = True
        async for request in self._source:
            yield request


class PoolCall:
    """A call over a pool: what grpc.aio's calls of all forms have in common, and :meth:`on_stall`.

    Calls on a channel that was given ``interceptors`` are grpc.aio's own, and no instances of this class.
    """

    _attempt: Attempt | None

    # Class attributes are the values of most calls, which therefore need not set them.
    _on_stall: Callable[[PoolCall], object] | None = None
    _picking: asyncio.Task[None] | None = None
    _stall_bucket: Bucket | None = None

    def __init__(
        self, method: Method, request: Any, timeout: float | None, options: Options, wait_for_ready: bool | None
    ) -> None:
        self._method = method
        self._request = request
        self._options = options
        self._wait_for_ready = wait_for_ready
        time = monotonic()
        deadline = None if timeout is None else time + timeout
        self._state: CallState[Subchannel] = CallState(method.policy, method.throttle, deadline)
        backend = method.dispatcher.pick_now(self._hash_key)
        if backend is not None:
            self._attempt = self._start_attempt(backend, time, timeout)
        else:
            self._pick_again()

    def on_stall(self, callback: Callable[[PoolCall], object]) -> None:
        """Run ``callback`` with this call, at most once, if its backend is unresponsive (docs/adr/0005).

        That is when half of the call's timeout is over, at least 1 s, and the backend has answered nobody since the
        call was sent. Calls without a timeout never stall. The call goes on: the callback may send another one.
        """
        self._on_stall = callback

    def cancel(self) -> bool:
        self._state.cancel()
        self._stop_stall_timer()
        if self._attempt is not None:
            return bool(self._attempt.cancel())
        if self._picking is not None:
            self._picking.cancel()
        self._set_attempt(CANCELLED)
        return True

    def cancelled(self) -> bool:
        attempt = self._attempt
        return attempt is not None and bool(attempt.cancelled()) and not self._was_removed(attempt)

    def done(self) -> bool:
        attempt = self._attempt
        return attempt is not None and bool(attempt.done()) and not self._retry_if_failed(attempt)

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        if self._attempt is not None:
            self._attempt.add_done_callback(partial(self._attempt_ended, callback))
        else:
            self._callbacks.append(callback)

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, which all attempts share; None without one."""
        return self._state.time_remaining(monotonic())

    async def initial_metadata(self) -> Metadata:
        metadata: Metadata = await (await self._after(_has_headers)).initial_metadata()
        return metadata

    async def trailing_metadata(self) -> Metadata:
        metadata: Metadata = await (await self._after(_has_succeeded)).trailing_metadata()
        return metadata

    async def code(self) -> StatusCode:
        code: StatusCode = await (await self._after(_has_succeeded)).code()
        return code

    async def details(self) -> str:
        details: str = await (await self._after(_has_succeeded)).details()
        return details

    async def debug_error_string(self) -> str:
        text: str = await (await self._after(_has_succeeded)).debug_error_string()
        return text

    async def wait_for_connection(self) -> None:
        await self._perform(_is_connected)

    async def wait_until_sent(self) -> None:
        """Wait until an attempt is on its way or the call has ended."""
        while self._attempt is None and self._picking is not None:
            await asyncio.wait((self._picking,))
            if self._attempt is None:
                self._picking.result()

    def stall_timer_fired(self) -> None:
        """Reconnect the backend if it is unresponsive, and run the callback of :meth:`on_stall`."""
        attempt, backend = self._attempt, self._state.backend
        if isinstance(attempt, InterceptedCall):
            attempt = attempt.sent  # the time that interceptors take does not count
        if attempt is None or backend is None or attempt.done() or not self._state.is_stalled():
            return
        self._method.dispatcher.balancer.reconnect(backend)
        callback, self._on_stall = self._on_stall, None
        if callback is not None:
            callback(self)

    async def _perform(self, operation: Callable[[Attempt], Awaitable[T]]) -> T:
        """Do ``operation`` with retries; cancelling the wait cancels the call."""
        try:
            return await self._with_retries(operation)
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def _with_retries(self, operation: Callable[[Attempt], Awaitable[T]]) -> T:
        """Do ``operation`` on the attempt, and on each that replaces it; commit the call once it succeeds."""
        while True:
            attempt = self._attempt
            if attempt is None:
                await self.wait_until_sent()
                continue
            try:
                result = await operation(attempt)
            except AioRpcError as error:
                if not self._retry(attempt, error):
                    raise
            except asyncio.CancelledError:
                if not self._survives_removal(attempt):
                    raise
            else:
                self._commit()
                return result

    async def _perform_committed(self, operation: Awaitable[T]) -> T:
        """Wait for ``operation`` on the attempt of a committed call; cancelling the wait cancels the call."""
        attempt = self._attempt
        try:
            return await operation
        except asyncio.CancelledError:
            if not self._survives_removal(attempt):
                self.cancel()
                raise
        raise BACKEND_REMOVED.error()

    async def _after(self, operation: Callable[[Attempt], Awaitable[object]]) -> Attempt:
        """Return the final attempt, or the one on which ``operation`` has succeeded."""
        if self._attempt is None or not self._state.committed:
            with suppress(AioRpcError):
                await self._with_retries(operation)
        if self._was_removed(self._attempt):
            self._attempt = BACKEND_REMOVED
        return self._attempt

    def _commit(self) -> None:
        if not self._state.committed:
            self._state.response_started(monotonic())
            if self._stall_bucket is not None:
                self._stop_stall_timer()

    def _retry(self, attempt: Attempt, error: AioRpcError) -> bool:
        """Retry ``attempt``, which has failed with ``error``, if that is allowed; returns whether it is."""
        if self._attempt is not attempt:
            return True  # replaced for another waiter
        state, request, dispatcher = self._state, self._request, self._method.dispatcher
        self._stop_stall_timer()
        target = target_uri(state.backend.endpoint) if state.backend is not None else ""
        repeatable = not dispatcher.closed and not (isinstance(request, ReplayableRequests) and request.spent)
        retry = state.attempt_failed(error, monotonic(), target, repeatable=repeatable)
        if retry is None:
            return False
        self._pick_again(retry, attempt)
        return True

    def _retry_if_failed(self, attempt: Attempt) -> bool:
        """As :meth:`_retry`, for an attempt that is done, with whatever outcome."""
        error = None if self._state.committed else error_of(attempt)
        return error is not None and self._retry(attempt, error)

    def _survives_removal(self, attempt: Attempt) -> bool:
        """Handle a CancelledError of ``attempt``; returns False if the call was cancelled.

        grpc.aio raises it too if the backend was removed and its drain timeout is over. The call is retried or fails
        with UNAVAILABLE then: the waiting task was not cancelled, and must not look as if it was.
        """
        task = asyncio.current_task()
        if not self._was_removed(attempt) or (task is not None and task.cancelling()):
            return False
        if not self._retry(attempt, BACKEND_REMOVED.error()):
            self._attempt = BACKEND_REMOVED
        return True

    def _was_removed(self, attempt: Attempt) -> bool:
        """Whether gRPC has ended ``attempt`` at the end of the drain timeout of its backend."""
        state = self._state
        if state.backend is None or not state.backend.removed or state.cancelled or self._method.dispatcher.closed:
            return False
        return bool(attempt.cancelled()) and now(attempt.details()) == LOCALLY_CANCELLED

    def _start_attempt(self, backend: Subchannel, time: float, timeout: float | None) -> Attempt:
        method = self._method
        self._state.attempt_started(backend, time)
        if timeout is not None:
            self._stall_bucket = method.dispatcher.stall_timer.watch(self, time, stall_timeout(timeout))
        return method.start(backend, self._request, timeout, self._options)

    def _pick_again(self, retry: RetryDecision = FIRST_ATTEMPT, previous: Attempt | None = None) -> None:
        """Start the next attempt as soon as there is a backend for it, in place of ``previous``."""
        self._attempt = None
        self._callbacks: list[Callable[[Any], None]] = []
        waiting = self._method.dispatcher.waiting
        waiting.add(self)
        # Interceptors run in the context of the call for each attempt, so that all spans have the same parent.
        context = previous.context if isinstance(previous, InterceptedCall) else None
        self._picking = asyncio.get_running_loop().create_task(self._pick_and_start(retry, previous), context=context)
        self._picking.add_done_callback(lambda _: waiting.discard(self))

    async def _pick_and_start(self, retry: RetryDecision, previous: Attempt | None) -> None:
        try:
            backend = await self._pick(retry)
        except NoBackendError as error:
            code = StatusCode.DEADLINE_EXCEEDED if isinstance(error, PickTimeout) else StatusCode.UNAVAILABLE
            self._state.no_backend()
            self._set_attempt(previous or FinishedCall(code, str(error)))
        else:
            self._set_attempt(self._start_attempt(backend, monotonic(), self.time_remaining()))

    async def _pick(self, retry: RetryDecision) -> Subchannel:
        """Wait for the next backend; raises :class:`NoBackendError` if none is left to try."""
        balancer, state, wait = self._method.dispatcher.balancer, self._state, bool(self._wait_for_ready)
        await asyncio.sleep(retry.pause)
        while True:
            backend = await balancer.pick(self.time_remaining(), state.tried, self._hash_key, wait_for_ready=wait)
            decision = state.backend_picked(backend, wait_for_ready=wait)
            if decision is PickDecision.START:
                return backend
            if decision is PickDecision.FAIL:
                raise NoBackendError("the connections to all backends were just lost")
            await asyncio.sleep(_RECHECK)

    def _hash_key(self) -> bytes | None:
        key_of = self._method.dispatcher.balancer.key_of
        return key_of(self._method.name, self._options[0]) if key_of is not None else None

    def _set_attempt(self, attempt: Attempt) -> None:
        self._attempt = attempt
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            self.add_done_callback(callback)

    def _attempt_ended(self, callback: Callable[[Any], None], attempt: Attempt) -> None:
        if attempt is self._attempt and not self._retry_if_failed(attempt):
            callback(self)
        else:
            self.add_done_callback(callback)

    def _stop_stall_timer(self) -> None:
        if self._stall_bucket is not None:
            self._stall_bucket.pop(id(self), None)


async def _async_iterator(items: Iterable[T]) -> AsyncIterator[T]:
    for item in items:
        yield item


async def _has_headers(attempt: Attempt) -> None:
    """Wait for the response's headers; an attempt that has failed by then may not have had any."""
    await attempt.initial_metadata()
    if attempt.done():
        await _has_succeeded(attempt)


async def _has_succeeded(attempt: Attempt) -> None:
    if await attempt.code() is not StatusCode.OK:
        raise error_of(attempt) or AssertionError


async def _is_connected(attempt: Attempt) -> None:
    await attempt.wait_for_connection()

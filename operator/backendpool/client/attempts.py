"""One call over a pool, as calls of grpc.aio's to one backend after the other, until one counts.

It is settled, and not repeated any more, as soon as something of its response has come, a request was written or its
connection waited for (gRFC A6 calls it committed). A call that nobody waits for or asks after is not repeated before
somebody does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic
from typing import Any, Final, TypeVar

from grpc import StatusCode
from grpc.aio import AioRpcError

from backendpool.client.attempt import Attempt, Native
from backendpool.client.balancer import PickTimeout
from backendpool.client.ended import CANCELLED, CUT, EndedCall, is_cut
from backendpool.client.intercepted import InterceptedCall
from backendpool.client.method import Method, Options
from backendpool.client.outcome import error_of
from backendpool.client.requests import Requests
from backendpool.client.retry import Again
from backendpool.client.subchannel import Subchannel
from backendpool.errors import NoBackendError

T = TypeVar("T")

_FIRST: Final = Again(0.0)

_NO_ANSWER: Final = frozenset({StatusCode.UNAVAILABLE, StatusCode.CANCELLED, StatusCode.DEADLINE_EXCEEDED})
"""How calls end where nobody is there, though servers may say so as well."""

_RECHECK: Final = 0.05
"""Seconds in which the balancer hears of a connection that a call has found to be lost."""


class Attempts(Attempt):
    """Attempts at one call of ``method``; to be made in a running event loop.

    While there is a backend the first is begun at once. Otherwise, and before each of the others, a task looks for one.
    """

    # Attributes that few calls need stand here, so that the others need not be given them.
    _attempts = 1
    _cancelled = False
    _seeking: asyncio.Task[None] | None = None
    _settled = False
    _tried: tuple[Subchannel, ...] = ()

    def __init__(
        self, method: Method, request: Any, timeout: float | None, options: Options, wait_for_ready: bool | None
    ) -> None:
        self._method = method
        self._request = request
        self._options = options
        self._wait_for_ready = wait_for_ready
        self._deadline = None  # set here, though the first attempt sets it: CPython is slow to add a late attribute
        backend = method.dispatcher.pick_now(self._key)
        if backend is not None:
            self._call = self._begin(backend, timeout)
        else:
            if timeout is not None:
                self._deadline = monotonic() + timeout
            self._seek()

    def cancel(self) -> bool:
        self._settled = self._cancelled = True
        self._stop_waiting()
        if self._call is not None:
            return bool(self._call.cancel())
        if self._seeking is not None:
            self._seeking.cancel()
        self._take(CANCELLED)
        return True

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        if self._call is not None:
            self._call.add_done_callback(partial(self._call_ended, callback))
        else:
            self._callbacks.append(callback)

    def time_remaining(self) -> float | None:
        """Seconds until the deadline of the call, which all its attempts share; None where it has none."""
        return None if self._deadline is None else max(0.0, self._deadline - monotonic())

    async def wait(self) -> None:
        """Until a backend has it, or it has ended."""
        while self._call is None and self._seeking is not None:
            await asyncio.wait((self._seeking,))
            if self._call is None:
                self._seeking.result()

    async def _perform(self, operation: Callable[[Native], Awaitable[T]]) -> T:
        """As :meth:`_follow`; the call ends with whoever waits for it, if that is cancelled."""
        try:
            return await self._follow(operation)
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def _follow(self, operation: Callable[[Native], Awaitable[T]]) -> T:
        """Do ``operation`` on the call, and again on the one that takes its place where it has failed."""
        while True:
            call = self._call
            if call is None:
                await self.wait()
                continue
            try:
                result = await operation(call)
            except AioRpcError as error:
                if not self._repeats(call, error):
                    raise
            except asyncio.CancelledError:
                if not self._is_resumed(call):
                    raise
            else:
                self._settle()
                return result

    def _settle(self) -> None:
        """It has come so far that it is not repeated."""
        if not self._settled:
            self._settled = True
            self._heard()
            if self._method.policy is not None:
                self._method.budget.succeeded()

    async def _go_on(self, operation: Awaitable[T]) -> T:
        """Wait for ``operation`` on the call, which is settled."""
        call = self._call
        try:
            return await operation
        except asyncio.CancelledError:
            if not self._is_resumed(call):
                self.cancel()
                raise
        raise self._call.error()

    def _is_resumed(self, call: Native) -> bool:
        """Whether another call takes the place of ``call``, of which whoever waits was told that it was cancelled.

        Nobody cancelled the caller where it is cut, who would look as if somebody had: it is an error like others.
        False where the call ends as it did.
        """
        task = asyncio.current_task()
        if not self._is_cut(call) or (task is not None and task.cancelling()):
            return False
        if not self._repeats(call, CUT.error()):
            self._call = CUT
        return True

    def _is_cut(self, call: Native) -> bool:
        if self._backend is None or self._cancelled or self._method.dispatcher.closed:
            return False
        return is_cut(call, self._backend)

    def _is_repeated(self, call: Native) -> bool:
        error = None if self._settled else error_of(call)
        return error is not None and self._repeats(call, error)

    def _repeats(self, call: Native, error: AioRpcError) -> bool:
        """Whether another call takes the place of ``call``, which ended with ``error``."""
        if self._call is not call:
            return True  # somebody else who waits has seen to it
        if not self._settled and self._backend is not None:
            self._backend.calls_failed += 1
            if error.code() in _NO_ANSWER:
                self._stop_waiting()
            else:
                self._heard()
        again, left = self._again(error), self.time_remaining()
        # An attempt for which no time is left could only hide why the last one failed.
        if again is None or (left is not None and left <= again.pause):
            self._settled = True
            return False
        if not again.elsewhere:
            self._attempts += 1
        self._seek(again, call)
        return True

    def _again(self, error: AioRpcError) -> Again | None:
        if self._settled or self._backend is None or (isinstance(self._request, Requests) and self._request.spent):
            return None
        return self._method.again(error, self._backend, self._attempts)

    def _seek(self, again: Again = _FIRST, failed: Native | None = None) -> None:
        """Look for a backend until the deadline; where there is none, ``failed`` was the last call."""
        self._call = None
        self._callbacks: list[Callable[[Any], None]] = []
        if self._backend is not None:
            self._tried = (*self._tried, self._backend)
        waiting = self._method.dispatcher.waiting
        waiting.add(self)
        # Interceptors run in the context of the call for each attempt, so that all spans have the same parent.
        context = failed.context if isinstance(failed, InterceptedCall) else None
        self._seeking = asyncio.get_running_loop().create_task(self._sought(again, failed), context=context)
        self._seeking.add_done_callback(lambda _: waiting.discard(self))

    async def _sought(self, again: Again, failed: Native | None) -> None:
        try:
            backend = await self._found(again)
        except NoBackendError as error:
            code = StatusCode.DEADLINE_EXCEEDED if isinstance(error, PickTimeout) else StatusCode.UNAVAILABLE
            self._settled = True
            self._take(failed or EndedCall(code, str(error)))
        else:
            self._take(self._begin(backend, self.time_remaining()))

    async def _found(self, again: Again) -> Subchannel:
        """The next backend; raises :class:`NoBackendError` where only some are left that could not be reached."""
        await asyncio.sleep(again.pause)
        backend = await self._pick()
        if not again.elsewhere or backend not in self._tried:
            return backend
        if not self._wait_for_ready:
            raise NoBackendError("the connection to each backend was just lost")
        self._tried = ()
        await asyncio.sleep(_RECHECK)
        return await self._pick()

    async def _pick(self) -> Subchannel:
        wait = bool(self._wait_for_ready)
        balancer = self._method.dispatcher.balancer
        return await balancer.pick(self.time_remaining(), self._tried, self._key, wait_for_ready=wait)

    def _key(self) -> bytes | None:
        """By which a backend is chosen."""
        key_of = self._method.dispatcher.balancer.key_of
        return key_of(self._method.name, self._options[0]) if key_of is not None else None

    def _take(self, call: Native) -> None:
        """Go on with ``call``."""
        self._call = call
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            self.add_done_callback(callback)

    def _call_ended(self, callback: Callable[[Any], None], call: Native) -> None:
        if call is self._call and not self._is_repeated(call):
            callback(self)
        else:
            self.add_done_callback(callback)

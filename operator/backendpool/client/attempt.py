"""One attempt at a call, on one backend, and whether that is still heard of."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from backendpool.client.intercepted import InterceptedCall
from backendpool.client.method import Method, Options
from backendpool.client.silence import Watched, patience
from backendpool.client.subchannel import Subchannel

Native = Any
"""A call of grpc.aio's, an :class:`~.intercepted.InterceptedCall` or an :class:`~.ended.EndedCall`.

What it can do depends on its form, in no type.
"""


class Attempt:
    """The attempt at hand, of a call that is made of what stands here without a value."""

    _method: Method
    _request: Any
    _options: Options
    _call: Any  # a Native, and None while there is none
    _deadline: float | None  # by time.monotonic()

    # Attributes that few calls need stand here, so that the others need not be given them.
    _backend: Subchannel | None = None
    _begun = 0.0
    _on_silence: Callable[[Any], object] | None = None
    _watched: Watched | None = None

    def _begin(self, backend: Subchannel, timeout: float | None) -> Native:
        """Send it to ``backend``, whose silence is noticed when half of the time is over (docs/adr/0005).

        The first attempt's ``timeout`` is that of the call, and sets its deadline.
        """
        self._backend = backend
        backend.calls_started += 1
        self._begun = now = monotonic()
        if timeout is not None:
            if self._deadline is None:
                self._deadline = now + timeout
            self._watched = self._method.dispatcher.silence.watch(self, now, patience(timeout))
        return self._method.start(backend, self._request, timeout, self._options)

    def on_silence(self, callback: Callable[[Any], object]) -> None:
        """Have ``callback`` told, once, if half of the time is over and nobody was heard (docs/adr/0005)."""
        self._on_silence = callback

    def suspect(self) -> None:
        """Have no more calls go to a backend that has answered nobody since this one was sent; it may still be."""
        call, backend = self._call, self._backend
        if isinstance(call, InterceptedCall):
            call = call.sent  # the time that interceptors take is no silence of the backend
        if call is not None and backend is not None and backend.last_response_at < self._begun and not call.done():
            self._method.dispatcher.balancer.reconnect(backend)
            callback, self._on_silence = self._on_silence, None
            if callback is not None:
                callback(self)

    def _heard(self) -> None:
        """The backend has said something."""
        if self._backend is not None:
            self._backend.last_response_at = monotonic()
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._watched is not None:
            self._watched.pop(id(self), None)

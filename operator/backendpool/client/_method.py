"""One method of a service, on every backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Literal

from grpc import CallCredentials, Compression
from grpc.aio import Metadata

from backendpool.client._dispatcher import Dispatcher
from backendpool.client._intercepted_call import InterceptedCall, InterceptedMethod, take_interceptors
from backendpool.client._retry import RetryPolicy, RetryThrottle
from backendpool.client._subchannel import Subchannel

Form = Literal["unary_unary", "unary_stream", "stream_unary", "stream_stream"]

CallMetadata = Metadata | Sequence[tuple[str, str | bytes]]

Options = tuple[CallMetadata | None, CallCredentials | None, Compression | None]
"""What each attempt at a call is given besides its request and its timeout: metadata, credentials, compression."""

_SPARE: Final = 16


class Method:
    """The method ``name`` (``/package.Service/Method``), called in ``form``.

    ``policy`` is for calls that may have been sent, None if these are not retried.
    """

    __slots__ = (
        "_deserializer",
        "_multicallables",
        "_registered",
        "_serializer",
        "dispatcher",
        "form",
        "name",
        "policy",
        "throttle",
    )

    def __init__(
        self,
        dispatcher: Dispatcher,
        form: Form,
        name: str,
        serializer: Callable[[Any], bytes] | None,
        deserializer: Callable[[bytes], Any] | None,
        registered: bool,
        policy: RetryPolicy | None,
        throttle: RetryThrottle,
    ) -> None:
        self.dispatcher = dispatcher
        self.form: Form = form
        self.name = name
        self.policy = policy
        self.throttle = throttle
        self._serializer = serializer
        self._deserializer = deserializer
        self._registered = registered
        self._multicallables: dict[Subchannel, Any] = {}

    def start(self, backend: Subchannel, request: Any, timeout: float | None, options: Options) -> Any:
        """Call ``backend``; returns grpc.aio's own call, unless the channel of the backend has interceptors."""
        multicallable = self._multicallables.get(backend)
        if multicallable is None:
            multicallable = self._bind(backend)
        metadata, credentials, compression = options
        # wait_for_ready means waiting for any backend, so it is not passed on to the channel of this one.
        call = multicallable(
            request, timeout=timeout, metadata=metadata, credentials=credentials, compression=compression
        )
        # An intercepted call counts itself when it is sent.
        if backend.observer is not None and not isinstance(call, InterceptedCall):
            backend.track(call)
        return call

    def _bind(self, backend: Subchannel) -> Any:
        """Make the multicallable for ``backend``, once: it is half the cost of a call."""
        current = self.dispatcher.balancer.subchannels
        if len(self._multicallables) > 2 * len(current) + _SPARE:
            kept = self._multicallables
            self._multicallables = {one: kept[one] for one in current if one in kept}
        multicallable = self._multicallable(backend, self.name)
        interceptors = take_interceptors(multicallable)
        if interceptors:
            bind, waiting = partial(self._multicallable, backend), self.dispatcher.waiting
            intercepted = InterceptedMethod(backend, self.form, self.name, interceptors, bind, waiting)
            multicallable = partial(InterceptedCall, intercepted)
        self._multicallables[backend] = multicallable
        return multicallable

    def _multicallable(self, backend: Subchannel, name: str) -> Any:
        make = getattr(backend.channel, self.form)
        return make(name, self._serializer, self._deserializer, _registered_method=self._registered)

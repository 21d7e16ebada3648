"""One method of a service, on every backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Literal

from grpc import CallCredentials, Compression
from grpc.aio import AioRpcError, Metadata

from backendpool.client.dispatcher import Dispatcher
from backendpool.client.intercepted import InterceptedCall
from backendpool.client.intercepted_method import InterceptedMethod, take_interceptors
from backendpool.client.retry import Again, Budget, RetryPolicy, never_left, pause
from backendpool.client.subchannel import Subchannel, target_uri

Form = Literal["unary_unary", "unary_stream", "stream_unary", "stream_stream"]

Metadatum = tuple[str, str | bytes]

Options = tuple[Metadata | Sequence[Metadatum] | None, CallCredentials | None, Compression | None]
"""What a call is made with besides its request and its time: metadata, credentials, compression."""

_SPARE: Final = 16


class Method:
    """The method ``name`` (``/package.Service/Method``), called in ``form``.

    ``policy`` is for calls that may have left, None where these are not to be retried.
    """

    __slots__ = (
        "_deserializer",
        "_natives",
        "_registered",
        "_serializer",
        "budget",
        "dispatcher",
        "form",
        "name",
        "policy",
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
        budget: Budget,
    ) -> None:
        self.dispatcher = dispatcher
        self.form: Form = form
        self.name = name
        self.policy = policy
        self.budget = budget
        self._serializer = serializer
        self._deserializer = deserializer
        self._registered = registered
        self._natives: dict[Subchannel, Any] = {}

    def start(self, backend: Subchannel, request: Any, timeout: float | None, options: Options) -> Any:
        """Call ``backend``; returns grpc.aio's own call, unless the channel of the backend has interceptors."""
        native = self._natives.get(backend)
        if native is None:
            native = self._bind(backend)
        metadata, credentials, compression = options
        # Waiting for ready is waiting for a backend: not for this one, while there are others.
        call = native(request, timeout=timeout, metadata=metadata, credentials=credentials, compression=compression)
        # An intercepted call counts itself when it is sent.
        if backend.observer is not None and not isinstance(call, InterceptedCall):
            backend.track(call)
        return call

    def again(self, error: AioRpcError, backend: Subchannel, attempts: int) -> Again | None:
        """Whether the call that failed with ``error`` on ``backend`` is to be sent again."""
        if self.dispatcher.closed:
            return None
        if never_left(error, target_uri(backend.endpoint)):
            return Again(0.0, elsewhere=True)
        seconds = pause(self.policy, self.budget, error, attempts) if self.policy is not None else None
        return Again(seconds) if seconds is not None else None

    def _bind(self, backend: Subchannel) -> Any:
        """Make the callable for ``backend``, once: it is half the cost of a call."""
        current = self.dispatcher.balancer.subchannels
        if len(self._natives) > 2 * len(current) + _SPARE:
            self._natives = {one: self._natives[one] for one in current if one in self._natives}
        native = self._callable(backend, self.name)
        interceptors = take_interceptors(native)
        if interceptors:
            bind, waiting = partial(self._callable, backend), self.dispatcher.waiting
            intercepted = InterceptedMethod(backend, self.form, self.name, interceptors, bind, waiting)
            native = partial(InterceptedCall, intercepted)
        self._natives[backend] = native
        return native

    def _callable(self, backend: Subchannel, name: str) -> Any:
        make = getattr(backend.channel, self.form)
        return make(name, self._serializer, self._deserializer, _registered_method=self._registered)

"""One method of a service, on every backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

from grpc import CallCredentials, Compression
from grpc.aio import AioRpcError, Metadata

from backendpool.client.channels import Backend, target_uri
from backendpool.client.dispatcher import Dispatcher
from backendpool.client.retry import Again, Budget, RetryPolicy, never_left, pause

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
        self._natives: dict[Backend, Any] = {}

    def start(self, backend: Backend, request: Any, timeout: float | None, options: Options) -> Any:
        """Call ``backend``; the call is grpc.aio's own."""
        native = self._natives.get(backend)
        if native is None:
            native = self._bind(backend)
        metadata, credentials, compression = options
        # Waiting for ready is waiting for a backend: not for this one, while there are others.
        call = native(request, timeout=timeout, metadata=metadata, credentials=credentials, compression=compression)
        if backend.observer is not None:
            backend.begun(call)
        return call

    def again(self, error: AioRpcError, backend: Backend, attempts: int) -> Again | None:
        """Whether the call that failed with ``error`` on ``backend`` is to be sent again."""
        if self.dispatcher.closed:
            return None
        if never_left(error, target_uri(backend.endpoint)):
            return Again(0.0, elsewhere=True)
        seconds = pause(self.policy, self.budget, error, attempts) if self.policy is not None else None
        return Again(seconds) if seconds is not None else None

    def _bind(self, backend: Backend) -> Any:
        """Make the callable for ``backend``, once: it is half the cost of a call."""
        current = self.dispatcher.balancer.backends
        if len(self._natives) > 2 * len(current) + _SPARE:
            self._natives = {one: self._natives[one] for one in current if one in self._natives}
        make = getattr(backend.channel, self.form)
        native = self._natives[backend] = make(
            self.name, self._serializer, self._deserializer, _registered_method=self._registered
        )
        return native

"""Interceptors on the channel of a backend."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from backendpool.client.dispatcher import Waiting
from backendpool.client.subchannel import Subchannel


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

    def of(self, interceptor: Any) -> Callable[..., Coroutine[Any, Any, Any]]:
        """The method of ``interceptor`` for calls of this form."""
        found: Callable[..., Coroutine[Any, Any, Any]] = getattr(interceptor, f"intercept_{self.form}")
        return found

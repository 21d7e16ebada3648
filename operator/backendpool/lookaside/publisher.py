"""From what is known of endpoints and spec to the one view that all services tell. No I/O."""

from __future__ import annotations

from collections.abc import Callable

from backendpool.api.endpoints import EndpointSet
from backendpool.api.load_balancing import EmptyPolicy, LoadBalancing
from backendpool.api.pool import PoolView


class Publisher:
    """Hands on each view that differs from the one before, once both halves of it are known.

    ``told`` gets the view as it is, for clients that know what to do without endpoints. ``kept`` gets the same with the
    last endpoints that there were, where the pool's author wants them kept (``emptyPolicy: KeepLast``), for all others.
    """

    def __init__(
        self,
        endpoints: Callable[[], EndpointSet | None],
        balancing: Callable[[], LoadBalancing | None],
        told: Callable[[PoolView], None],
        kept: Callable[[PoolView], None],
    ) -> None:
        self._endpoints = endpoints
        self._balancing = balancing
        self._told = told
        self._kept = kept
        self._last: PoolView | None = None
        self._last_kept: PoolView | None = None

    def kept_endpoints(self) -> EndpointSet | None:
        """Those that were handed on last to clients that do not know of ``emptyPolicy``."""
        return self._last_kept.endpoints if self._last_kept else None

    def refresh(self) -> None:
        """Look at what is known now."""
        endpoints, balancing = self._endpoints(), self._balancing()
        if endpoints is None or balancing is None:
            return
        view = PoolView(endpoints, balancing)
        if self._last is None or not _is_same(view, self._last):
            self._last = view
            self._told(view)
        kept = PoolView(self._or_last(endpoints, balancing), balancing)
        if self._last_kept is None or not _is_same(kept, self._last_kept):
            self._last_kept = kept
            self._kept(kept)

    def _or_last(self, endpoints: EndpointSet, balancing: LoadBalancing) -> EndpointSet:
        if endpoints.endpoints or self._last_kept is None or balancing.empty_policy is not EmptyPolicy.KEEP_LAST:
            return endpoints
        return self._last_kept.endpoints


def _is_same(one: PoolView, other: PoolView) -> bool:
    """By the revision, which names the endpoints."""
    return (one.endpoints.revision, one.balancing) == (other.endpoints.revision, other.balancing)

"""The lookaside's informers: a pool's endpoints and its spec, each kept current by a watch.

While the API server is unreachable, both keep their last state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

from backendpool.api.constants import BACKENDS, COMPONENT_LABEL, POOL_LABEL, SERVICE_NAME_LABEL
from backendpool.api.endpoint_slices import Slice, SliceTracker, parse_slice, select_current, union
from backendpool.api.endpoints import EndpointSet
from backendpool.api.load_balancing import DEFAULT, LoadBalancing
from backendpool.api.pool import parse_pool
from backendpool.k8s.client import Api
from backendpool.k8s.reflector import Reflector, ReflectorMetrics
from backendpool.k8s.resources import ENDPOINT_SLICES, POOLS


class EndpointInformer:
    """The pool's endpoints, from its EndpointSlices; ``on_change`` is called after each change."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        pool: str,
        on_change: Callable[[], None],
        metrics: ReflectorMetrics | None = None,
    ) -> None:
        self._on_change = on_change
        self._slices = SliceTracker(self._schedule_refresh, asyncio.get_running_loop().call_later)
        self._reflector: Reflector[Slice] = Reflector(
            api,
            ENDPOINT_SLICES,
            parse_slice,
            self._put,
            namespace=namespace,
            # Match the pool's labels too: a foreign Service of the same name must not receive calls.
            label_selector=f"{SERVICE_NAME_LABEL}={pool},{POOL_LABEL}={pool},{COMPONENT_LABEL}={BACKENDS}",
            metrics=metrics,
        )
        self._pool = pool
        self._endpoints: EndpointSet | None = None
        self._known = asyncio.Event()
        self._outdated = True

    async def run(self) -> NoReturn:
        """Watch until cancelled."""
        await self._reflector.run()

    async def wait_synced(self) -> None:
        """Return once the endpoints are known."""
        await self._known.wait()

    def endpoints(self) -> EndpointSet | None:
        """Return the current endpoints; None before the first list.

        A Service with a selector always has a slice, even if it is empty. If there is none, the Service does not exist
        yet, or was deleted and the operator is about to create it again: until then the last endpoints are kept.
        """
        self._refresh()
        return self._endpoints

    def age(self) -> float:
        """Return the seconds since the endpoints were last known to be current."""
        return self._reflector.age()

    def readiness_error(self) -> str | None:
        """Return why the endpoints are not known yet; None once they are."""
        if self.endpoints() is not None:
            return None
        if self._reflector.synced:
            return f"the endpoints are not known yet: the Service {self._pool} has no EndpointSlice"
        return f"the endpoints are not known yet: {self._reflector.problem or 'listing them for the first time'}"

    def _put(self, old: Slice | None, new: Slice | None) -> None:
        if new is not None:
            self._slices.put(new)
        elif old is not None:
            self._slices.delete(old.name)

    def _schedule_refresh(self) -> None:
        self._outdated = True
        # Compute the union later, since a first list of many slices reports many changes. Do not wait until it is asked
        # for: the next change may delete the last slice, and its endpoints must be kept.
        asyncio.get_running_loop().call_soon(self._refresh)

    def _refresh(self) -> None:
        if self._outdated and self._reflector.synced:
            self._outdated = False
            if slices := select_current(self._slices):
                self._endpoints = union(slices)
                self._known.set()
                self._on_change()


class SpecInformer:
    """The load balancing of the pool's spec; ``on_change`` is called after each change.

    If the pool is deleted, or this version cannot read its spec, the last load balancing is kept. The default applies
    until there is a valid spec.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        pool: str,
        on_change: Callable[[], None],
        metrics: ReflectorMetrics | None = None,
    ) -> None:
        self._on_change = on_change
        self._balancing = DEFAULT
        self._reflector: Reflector[LoadBalancing] = Reflector(
            api,
            POOLS,
            _parse,
            self._put,
            namespace=namespace,
            field_selector=f"metadata.name={pool}",
            metrics=metrics,
        )

    async def run(self) -> NoReturn:
        """Watch until cancelled."""
        await self._reflector.run()

    async def wait_synced(self) -> None:
        """Return once the spec is known."""
        await self._reflector.wait_synced()

    def balancing(self) -> LoadBalancing | None:
        """Return the current load balancing; None before the first list."""
        return self._balancing if self._reflector.synced else None

    def readiness_error(self) -> str | None:
        """Return why the spec is not known yet; None once it is."""
        if self._reflector.synced:
            return None
        return f"the pool's spec is not known yet: {self._reflector.problem or 'reading it for the first time'}"

    def _put(self, old: LoadBalancing | None, new: LoadBalancing | None) -> None:
        if new is not None:
            self._balancing = new
            self._on_change()


def _parse(obj: dict[str, Any]) -> LoadBalancing:
    return parse_pool(obj).valid_spec().balancing

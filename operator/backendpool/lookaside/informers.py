"""What the lookaside knows of its pool: the endpoints, and how old that knowledge is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NoReturn

from backendpool.api.constants import BACKENDS, COMPONENT_LABEL, POOL_LABEL, SERVICE_NAME_LABEL
from backendpool.api.endpoint_slices import Slice, SliceTracker, parse_slice, select_current, union
from backendpool.api.endpoints import EndpointSet
from backendpool.k8s.client import Api
from backendpool.k8s.reflector import Reflector, ReflectorMetrics
from backendpool.k8s.resources import ENDPOINT_SLICES


class EndpointView:
    """The pool's endpoints, kept current by a watch; ``changed`` is called after each change.

    The last ones stay while the API server is away.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        pool: str,
        changed: Callable[[], None],
        metrics: ReflectorMetrics | None = None,
    ) -> None:
        self._on_change = changed
        self._slices = SliceTracker(self._changed, asyncio.get_running_loop().call_later)
        self._reflector: Reflector[Slice] = Reflector(
            api,
            ENDPOINT_SLICES,
            parse_slice,
            self._put,
            namespace=namespace,
            # By the pool's labels as well: a Service of that name that is somebody else's does not lead its clients.
            label_selector=f"{SERVICE_NAME_LABEL}={pool},{POOL_LABEL}={pool},{COMPONENT_LABEL}={BACKENDS}",
            metrics=metrics,
        )
        self._pool = pool
        self._endpoints: EndpointSet | None = None
        self._known = asyncio.Event()
        self._outdated = True

    async def run(self) -> NoReturn:
        """Follow the API server, for ever."""
        await self._reflector.run()

    async def wait_synced(self) -> None:
        """Return once the endpoints are known."""
        await self._known.wait()

    def endpoints(self) -> EndpointSet | None:
        """The current endpoints; None before they were first known.

        A Service with a selector always has a slice, be it an empty one. Where there is none the Service is yet to be
        made, or was deleted, and the operator makes it anew: until then the last endpoints stand, if there were any.
        """
        self._refresh()
        return self._endpoints

    def age(self) -> float:
        """Seconds since the endpoints were last known to be current."""
        return self._reflector.age()

    def unready(self) -> str | None:
        """Why there is nothing to answer with yet; None once the endpoints are known."""
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

    def _changed(self) -> None:
        self._outdated = True
        # Soon and not at once: a first list of many slices is many changes and one union. But asked for or not, for
        # what is known now may be the last that is known.
        asyncio.get_running_loop().call_soon(self._refresh)

    def _refresh(self) -> None:
        if self._outdated and self._reflector.synced:
            self._outdated = False
            if slices := select_current(self._slices):
                self._endpoints = union(slices)
                self._known.set()
                self._on_change()

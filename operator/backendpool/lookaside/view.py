"""What the lookaside knows of its pool: the endpoints, and how old that knowledge is."""

from __future__ import annotations

import asyncio
from typing import NoReturn

from backendpool.cluster.api import Api
from backendpool.cluster.reflector import Change, Reflector
from backendpool.cluster.resources import ENDPOINT_SLICES
from backendpool.endpoints import EndpointSet, Slice, parse_slice, union
from backendpool.names import POOL_LABEL, SERVICE_NAME_LABEL
from backendpool.settle import SettledSlices


class EndpointView:
    """The pool's endpoints, kept current by a watch; the last ones stay while the API server is away."""

    def __init__(self, api: Api, namespace: str, pool: str) -> None:
        self._slices = SettledSlices(self._changed, asyncio.get_running_loop().call_later)
        self._reflector: Reflector[Slice] = Reflector(
            api,
            ENDPOINT_SLICES,
            parse_slice,
            self._put,
            namespace=namespace,
            # By the pool's label as well: a Service of that name that is somebody else's does not lead its clients.
            label_selector=f"{SERVICE_NAME_LABEL}={pool},{POOL_LABEL}={pool}",
        )
        self._endpoints: EndpointSet | None = None
        self._outdated = True

    async def run(self) -> NoReturn:
        """Follow the API server, for ever."""
        await self._reflector.run()

    async def wait_synced(self) -> None:
        """Return once the endpoints are known."""
        await self._reflector.wait_synced()

    def endpoints(self) -> EndpointSet | None:
        """The current endpoints; None before they were first known.

        A Service with a selector always has a slice, be it an empty one. Where all slices are gone the Service
        was deleted, and the operator makes it anew: until then the last endpoints stand.
        """
        self._refresh()
        return self._endpoints

    def age(self) -> float:
        """Seconds since the endpoints were last known to be current."""
        return self._reflector.age()

    def unready(self) -> str | None:
        """Why there is nothing to answer with yet; None once the endpoints are known."""
        if self._reflector.synced:
            return None
        return f"the endpoints are not known yet: {self._reflector.problem or 'listing them for the first time'}"

    def _put(self, change: Change[Slice]) -> None:
        self._slices.put(change.key[1], change.new)

    def _changed(self) -> None:
        self._outdated = True
        # Soon and not at once: a first list of many slices is many changes and one union. But asked for or not, for
        # what is known now may be the last that is known.
        asyncio.get_running_loop().call_soon(self._refresh)

    def _refresh(self) -> None:
        if self._outdated and self._reflector.synced:
            self._outdated = False
            if self._slices or self._endpoints is None:
                self._endpoints = union(self._slices)

"""The pool's status, by watch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from backendpool.api.pool import PoolView, parse_pool
from backendpool.api.status import endpoints_of
from backendpool.client.resolvers.resolver import OnView
from backendpool.errors import ClusterError, Forbidden, NotFound, SpecError
from backendpool.k8s.client import Api
from backendpool.k8s.reflector import Change, Reflector, ReflectorTiming
from backendpool.k8s.resources import POOLS, Resource

log = logging.getLogger(__name__)

# The right to read a pool is made with the pool, and clients are often started first: until then they are
# refused, and should not be long in noticing that they no longer are.
_TIMING: Final = ReflectorTiming(longest_backoff=5.0)


@dataclass(frozen=True, slots=True)
class _Known:
    """A pool that exists; ``view`` is None until the operator has written its endpoints for the first time."""

    view: PoolView | None


@asynccontextmanager
async def connected(namespace: str, name: str, on_view: OnView) -> AsyncIterator[PoolSource]:
    """A source by a connection of its own to the cluster; an empty namespace is the one that we are in.

    Raises :class:`~backendpool.errors.SettingsError` where there is no cluster to be found.
    """
    async with await Api.connect() as api:
        yield PoolSource(api, namespace or api.namespace, name, on_view)


class PoolSource:
    """Tells ``on_view`` the pool as it is now and at each change; None where there is none that may be read.

    Nothing is told as long as nothing is known: while the API server cannot be reached, and before the operator
    has first written the status. What was told last then stands, also where the right to read is lost later.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        name: str,
        on_view: OnView,
        *,
        timing: ReflectorTiming = _TIMING,
    ) -> None:
        self._on_view = on_view
        self._told = False
        self._pools: Reflector[_Known] = Reflector(
            api,
            POOLS,
            _parse,
            self._changed,
            namespace=namespace,
            field_selector=f"metadata.name={name}",
            timing=timing,
            metrics=_Failures(self._failed),
        )

    @property
    def problem(self) -> ClusterError | None:
        """Why the pool cannot be followed at the moment."""
        return self._pools.problem

    def age(self) -> float:
        """Seconds since what was told was last known to be current, infinite before the first answer."""
        return self._pools.age()

    async def run(self) -> None:
        """Follow the pool until cancelled; an error of the API server never ends it."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tell_if_absent())
            await self._pools.run()

    async def _tell_if_absent(self) -> None:
        """A first list without the pool is no change, and yet an answer."""
        await self._pools.wait_synced()
        if not self._pools.items:
            self._tell(None)

    def _changed(self, change: Change[_Known]) -> None:
        if change.new is None:
            self._tell(None)
        elif change.new.view is not None:
            self._tell(change.new.view)

    def _failed(self, error: ClusterError) -> None:
        """A refusal at the start is an answer: the right to read a pool comes with the pool (404: with its CRD)."""
        if isinstance(error, Forbidden | NotFound) and not self._told:
            self._tell(None)

    def _tell(self, view: PoolView | None) -> None:
        self._told = True
        self._on_view(view)


class _Failures:
    """Of what a reflector tells of itself, the failures."""

    def __init__(self, failed: Callable[[ClusterError], None]) -> None:
        self._failed = failed

    def listed(self, resource: Resource, objects: int, seconds: float) -> None:
        pass

    def event(self, resource: Resource, kind: str) -> None:
        pass

    def failed(self, resource: Resource, error: ClusterError) -> None:
        self._failed(error)


def _parse(obj: dict[str, Any]) -> _Known:
    """Endpoints are worth following also where a newer CRD allows a spec that this version cannot read."""
    pool = parse_pool(obj)
    if "revision" not in pool.status:
        return _Known(None)
    endpoints = endpoints_of(pool.status)
    if isinstance(pool.spec, SpecError):
        log.warning("pool %s/%s: taking the default policies, for %s", pool.namespace, pool.name, pool.spec)
        return _Known(PoolView(endpoints))
    return _Known(PoolView(endpoints, pool.spec.balancing))

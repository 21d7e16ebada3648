"""Resolver of ``pool:///``: watches the pool's status."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from backendpool.api.pool import PoolView, parse_pool
from backendpool.api.status import endpoints_of
from backendpool.client._resolvers.resolver import OnView
from backendpool.errors import ClusterError, Forbidden, NotFound, SpecError
from backendpool.k8s.client import Api
from backendpool.k8s.reflector import Reflector, ReflectorMetrics, ReflectorTiming
from backendpool.k8s.resources import POOLS, Resource
from backendpool.runtime.logs import FieldLogger

log = FieldLogger(logging.getLogger(__name__))

# The operator grants the permission to read a pool when the pool is created, and clients often start first: they should
# notice the grant soon.
_TIMING: Final = ReflectorTiming(longest_backoff=5.0)


@dataclass(frozen=True, slots=True)
class _ParsedPool:
    """A pool that exists; ``view`` is None until the operator has first written its status."""

    view: PoolView | None


@asynccontextmanager
async def connect(namespace: str, name: str, on_view: OnView) -> AsyncIterator[PoolResolver]:
    """Connect to the cluster; an empty namespace is the client's own.

    Raises :class:`~backendpool.errors.SettingsError` if no cluster is configured.
    """
    async with await Api.connect() as api:
        yield PoolResolver(api, namespace or api.namespace, name, on_view)


class PoolResolver:
    """Follows the status of the pool ``name``.

    Nothing is reported while the API server cannot be reached, nor before the operator has first written the status.
    The last view stays in effect, also if the permission to read is lost later.
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
        self._reported = False
        self._pools: Reflector[_ParsedPool] = Reflector(
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
        """As :attr:`Resolver.problem`."""
        return self._pools.problem

    def age(self) -> float:
        """As :meth:`Resolver.age`."""
        return self._pools.age()

    async def run(self) -> None:
        """Follow the pool until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._report_absence())
            await self._pools.run()

    async def _report_absence(self) -> None:
        """Report a first list without the pool, which is no change to the reflector."""
        await self._pools.wait_synced()
        if not self._pools.items:
            self._report(None)

    def _changed(self, old: _ParsedPool | None, new: _ParsedPool | None) -> None:
        if new is None:
            self._report(None)
        elif new.view is not None:
            self._report(new.view)

    def _failed(self, error: ClusterError) -> None:
        """Report 403 and 404 at the start as absence: permission comes with the pool, the resource with its CRD."""
        if isinstance(error, Forbidden | NotFound) and not self._reported:
            self._report(None)

    def _report(self, view: PoolView | None) -> None:
        self._reported = True
        self._on_view(view)


class _Failures(ReflectorMetrics):
    """Reflector metrics that only pass on failures."""

    def __init__(self, failed: Callable[[ClusterError], None]) -> None:
        self._failed = failed

    def failed(self, resource: Resource, error: ClusterError) -> None:
        self._failed(error)


def _parse(obj: dict[str, Any]) -> _ParsedPool:
    """Parse a pool; use the default policies if a newer CRD allows a spec that this version cannot read."""
    pool = parse_pool(obj)
    if "revision" not in pool.status:
        return _ParsedPool(None)
    endpoints = endpoints_of(pool.status)
    if isinstance(pool.spec, SpecError):
        log.warning(
            "Spec cannot be parsed, using the default policies",
            extra={"pool": f"{pool.namespace}/{pool.name}", "error": pool.spec},
        )
        return _ParsedPool(PoolView(endpoints))
    return _ParsedPool(PoolView(endpoints, pool.spec.balancing))

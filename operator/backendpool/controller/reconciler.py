"""The reconcile of one pool: apply its children, compute its status, write the status if it changed.

Level-triggered: a reconcile depends on the cache alone and never on the event that caused it, so that lost or duplicate
events do no harm. If nothing differs, nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from backendpool.api.conditions import ChildrenStatus, transitions
from backendpool.api.constants import API_VERSION, KIND, lookaside_name
from backendpool.api.endpoint_slices import select_current, union
from backendpool.api.endpoints import EndpointSet
from backendpool.api.pool import Pool, PoolKey, parse_pool
from backendpool.api.status import build_status
from backendpool.children.drift import belongs_to
from backendpool.children.manifest import KubernetesObject
from backendpool.controller.cache import Cache
from backendpool.controller.child_applier import ChildApplier, children_status
from backendpool.controller.event_recorder import EventRecorder, PoolEvent
from backendpool.controller.lookaside_diagnosis import LookasideDiagnosis
from backendpool.controller.metrics import OperatorMetrics
from backendpool.errors import ClusterError, Conflict, NotFound
from backendpool.k8s.client import Api
from backendpool.k8s.resources import POOLS
from backendpool.k8s.store import version_of

_LONGEST_ERROR: Final = 300
"""Characters of an exception in a condition: it may quote a whole object."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Reconciler:
    """Reconciles pools. ``unwatchable`` returns the kinds that may not be watched in a pool's namespace, and why."""

    def __init__(
        self,
        api: Api,
        cache: Cache,
        applier: ChildApplier,
        diagnosis: LookasideDiagnosis,
        recorder: EventRecorder,
        metrics: OperatorMetrics,
        unwatchable: Callable[[PoolKey], Mapping[str, str]],
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._api = api
        self._cache = cache
        self._applier = applier
        self._diagnosis = diagnosis
        self._recorder = recorder
        self._metrics = metrics
        self._unwatchable = unwatchable
        self._clock = clock

    async def reconcile(self, key: PoolKey) -> float | None:
        """Reconcile a pool; returns the seconds after which to requeue it, or None.

        Raises ``ClusterError``. Any other exception is a bug: it is reported in the pool's status before it is raised.
        """
        pool = self._cache.pool(key)
        if pool is None or pool.deleting:
            self._diagnosis.forget(key)
            self._applier.forget(key)
            return None
        try:
            if pool.unexpected:
                raise pool.unexpected
            applied = await self._applier.apply(pool)
            deployment = applied.live.get(("Deployment", lookaside_name(pool.name)))
            problem, recheck_after = await self._diagnosis.diagnose(pool, deployment)
            endpoints = self._endpoints(pool, applied.live.get(("Service", pool.name)))
            await self._write_status(pool, endpoints, replace(applied.status, lookaside_problem=problem))
        except (Conflict, NotFound):
            return await self._refresh(pool)
        except ClusterError:
            raise
        except Exception as error:
            await self._report(pool, error)
            raise
        if applied.error:
            raise applied.error
        return min(filter(None, (applied.requeue_after, recheck_after)), default=None)

    def _endpoints(self, pool: Pool, service: KubernetesObject | None) -> EndpointSet | None:
        """Return the union of the slices of the pool's own Service; None if there is no slice yet.

        A Service with a selector always has a slice, even if it is empty. So no slice means that the endpoints are
        unknown, for example after the Service was deleted. A Service with the pool's name and label that the pool does
        not own does not count.
        """
        if service is None or not belongs_to(service, pool):
            return None
        slices = select_current(self._cache.slices(pool.key), service["metadata"]["uid"])
        return union(slices) if slices else None

    async def _write_status(self, pool: Pool, endpoints: EndpointSet | None, children: ChildrenStatus) -> None:
        status = build_status(pool, endpoints, children, self._clock(), self._unwatchable(pool.key))
        if status == pool.status:
            return
        answer = await self._api.replace_status(POOLS, _status_document(pool, status))
        self._metrics.status_writes.inc()
        self._cache.note_pool(replace(pool, status=status, resource_version=version_of(answer)))
        for changed in transitions(pool.status.get("conditions") or (), status["conditions"]):
            self._recorder.record(pool, PoolEvent(changed.reason, changed.message, warning=changed.reason.is_warning))

    async def _refresh(self, pool: Pool) -> float | None:
        """Read the pool again after a conflict, and requeue it without waiting for the watch."""
        try:
            self._cache.note_pool(parse_pool(await self._api.get(POOLS, pool.namespace, pool.name)))
        except NotFound:
            self._cache.drop_pool(pool)
            return None
        return 0.0

    async def _report(self, pool: Pool, error: Exception) -> None:
        """Report ``error`` in the status, and still update the endpoints, which it may not concern."""
        sentence = (
            f"Reconciling this pool failed unexpectedly ({_shorten(error)}); the operator retries. "
            "The operator's log has the traceback; please report it."
        )
        # Errors of the report itself are dropped: the caller raises and logs the original one.
        with suppress(Exception):
            live = self._cache.children(pool.key)
            endpoints: EndpointSet | None = None
            with suppress(Exception):
                endpoints = self._endpoints(pool, live.get(("Service", pool.name)))
            await self._write_status(pool, endpoints, replace(children_status(pool, live), error=sentence))


def _shorten(error: Exception) -> str:
    text = ascii(error)
    return text if len(text) <= _LONGEST_ERROR else f"{text[:_LONGEST_ERROR]}…"


def _status_document(pool: Pool, status: Mapping[str, Any]) -> dict[str, Any]:
    """Bind the write to the object and version that the status was computed from."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "namespace": pool.namespace,
            "name": pool.name,
            "uid": pool.uid,
            "resourceVersion": pool.resource_version,
        },
        "status": status,
    }

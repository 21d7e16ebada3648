"""One pool, made so: read what is known, apply what is missing, write what is true.

Idempotent and driven by keys: it looks at the state of things and never at the event that brought it here,
so a lost or doubled event does no harm. Where nothing differs nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from backendpool.api.conditions import ChildrenStatus, transitions
from backendpool.api.constants import API_VERSION, KIND, lookaside_name
from backendpool.api.endpoints import EndpointSet, of_service, union
from backendpool.api.pool import Pool, PoolKey, parse_pool
from backendpool.api.status import build_status
from backendpool.children.drift import belongs_to
from backendpool.controller.cache import Cache, Live
from backendpool.controller.child_applier import Applied, ChildApplier, children_view
from backendpool.controller.event_recorder import EventRecorder, Notice
from backendpool.controller.lookaside_diagnosis import Examiner
from backendpool.controller.metrics import OperatorMetrics
from backendpool.errors import ClusterError, Conflict, NotFound
from backendpool.k8s.client import Api
from backendpool.k8s.resources import POOLS
from backendpool.k8s.store import version_of

_LONGEST_ERROR: Final = 300
"""Characters of an exception in a condition: it may quote what it failed of."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Reconciler:
    """Brings pools' children and status to what their specs and EndpointSlices say.

    ``refused`` says of which kinds nothing may be watched where a pool is, and why.
    """

    def __init__(
        self,
        api: Api,
        cache: Cache,
        applier: ChildApplier,
        examiner: Examiner,
        recorder: EventRecorder,
        metrics: OperatorMetrics,
        refused: Callable[[PoolKey], Mapping[str, str]],
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._api = api
        self._cache = cache
        self._applier = applier
        self._examiner = examiner
        self._recorder = recorder
        self._metrics = metrics
        self._refused = refused
        self._clock = clock

    async def reconcile(self, key: PoolKey) -> float | None:
        """Returns the seconds after which to look again unasked, or None.

        Raises ``ClusterError``. Any other exception is a bug: the pool's status says so before it is raised.
        """
        pool = self._cache.pool(key)
        if pool is None or pool.deleting:
            self._examiner.forget(key)
            self._applier.forget(key)
            return None
        try:
            if pool.unexpected:
                raise pool.unexpected
            applied = await self._examined(pool, await self._applier.ensure(pool))
            endpoints = self._endpoints(pool, applied.live.get(("Service", pool.name)))
            await self._write_status(pool, endpoints, applied.view)
        except (Conflict, NotFound):
            return await self._read_again(pool)
        except ClusterError:
            raise
        except Exception as error:
            await self._report(pool, error)
            raise
        if applied.error:
            raise applied.error
        return applied.look_again

    async def _report(self, pool: Pool, error: Exception) -> None:
        """Put ``error`` into the status, and the endpoints all the same: they may have nothing to do with it."""
        sentence = (
            f"The operator could not reconcile this pool ({_shown(error)}) and tries again. "
            "Its log has the traceback: please report it."
        )
        # What cannot be reported either is in the log, by the error that is raised.
        with suppress(Exception):
            live = self._cache.children(pool.key)
            view = replace(children_view(pool, live), error=sentence)
            endpoints: EndpointSet | None = None
            with suppress(Exception):
                endpoints = self._endpoints(pool, live.get(("Service", pool.name)))
            await self._write_status(pool, endpoints, view)

    async def _examined(self, pool: Pool, applied: Applied) -> Applied:
        """With what ails the lookaside, if anything, and when to look at it again."""
        problem, due = await self._examiner.examine(pool, applied.live.get(("Deployment", lookaside_name(pool.name))))
        view = replace(applied.view, lookaside_problem=problem)
        return replace(applied, view=view, look_again=min(filter(None, (applied.look_again, due)), default=None))

    async def _write_status(self, pool: Pool, endpoints: EndpointSet | None, view: ChildrenStatus) -> None:
        status = build_status(pool, endpoints, view, self._clock(), self._refused(pool.key))
        if status == pool.status:
            return
        answer = await self._api.replace_status(POOLS, _with_status(pool, status))
        self._metrics.status_writes.inc()
        self._cache.note_pool(replace(pool, status=status, resource_version=version_of(answer)))
        for news in transitions(pool.status.get("conditions") or (), status["conditions"]):
            self._recorder.record(pool, Notice(news.reason, news.message, warning=news.reason.is_warning))

    def _endpoints(self, pool: Pool, service: Live | None) -> EndpointSet | None:
        """The union of the slices of the pool's own Service; None while the cluster has made none.

        A Service that has a selector always has a slice, be it an empty one. So no slice means that nothing
        is known yet, as after somebody deleted the Service: the last list stands until the new one is there.
        A Service of the pool's name and label that is not the pool's does not tell where its calls go.
        """
        if service is None or not belongs_to(service, pool):
            return None
        slices = of_service(self._cache.slices(pool.key), service["metadata"]["uid"])
        return union(slices) if slices else None

    async def _read_again(self, pool: Pool) -> float | None:
        """The pool changed or went while it was worked on: go on from how it is, without waiting for the watch."""
        try:
            self._cache.note_pool(parse_pool(await self._api.get(POOLS, pool.namespace, pool.name)))
        except NotFound:
            self._cache.drop_pool(pool)
            return None
        return 0.0


def _shown(error: Exception) -> str:
    text = ascii(error)
    return text if len(text) <= _LONGEST_ERROR else f"{text[:_LONGEST_ERROR]}…"


def _with_status(pool: Pool, status: Mapping[str, Any]) -> dict[str, Any]:
    """The document to put: bound to the very object, and the version of it, that the status was built from."""
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

"""The children of a pool, brought to what its spec asks for: the writing half of a reconcile.

What to do is decided by ``drift.plan``; here it is done, by server-side apply with one field manager
(KEP-555), so that what others add to a child stands and what we set is ours.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from backendpool.cache import Cache, Live
from backendpool.children import children
from backendpool.cluster.api import Api
from backendpool.cluster.resources import (
    DEPLOYMENTS,
    POD_DISRUPTION_BUDGETS,
    POOLS,
    ROLE_BINDINGS,
    ROLES,
    SERVICE_ACCOUNTS,
    SERVICES,
    Resource,
)
from backendpool.conditions import ConditionType, Reason
from backendpool.drift import Plan, Ref, plan, ref_of
from backendpool.errors import ApiError, Conflict, NotFound
from backendpool.metrics import OperatorMetrics
from backendpool.names import DIGEST_ANNOTATION, lookaside_name
from backendpool.pool import Pool
from backendpool.recorder import EventRecorder, Notice
from backendpool.spec import PoolSpec
from backendpool.status import ChildrenView

CHILDREN: Final[Mapping[str, Resource]] = {
    resource.kind: resource
    for resource in (SERVICES, SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS, DEPLOYMENTS, POD_DISRUPTION_BUDGETS)
}
"""The kinds that a pool's children are of."""

_LOOK_AGAIN = 15.0
"""Seconds: no watch tells when a foreign object goes away, for only our own children are watched."""


@dataclass(frozen=True, slots=True)
class Applied:
    """How the children stand: ``view`` for the status, ``error`` to come back for, or when to look again."""

    view: ChildrenView
    error: ApiError | None = None
    look_again: float | None = None


class ChildApplier:
    """Applies, repairs and removes the children of pools."""

    def __init__(
        self, api: Api, cache: Cache, recorder: EventRecorder, metrics: OperatorMetrics, lookaside_image: str
    ) -> None:
        self._api = api
        self._cache = cache
        self._recorder = recorder
        self._metrics = metrics
        self._image = lookaside_image

    async def ensure(self, pool: Pool) -> Applied:
        """Make the children of ``pool`` stand as desired.

        Raises :class:`NotFound` where the pool itself is gone, and ``Unreachable`` where the cluster is.
        """
        if not isinstance(pool.spec, PoolSpec):
            return Applied(self._view(pool))
        desired = children(pool, self._image)
        live = dict(self._cache.children(pool.key))
        unseen = [ref for ref in map(ref_of, desired) if ref not in live]
        if unseen:
            await self._confirm(pool)
        try:
            live |= await self._find(pool, unseen)
        except ApiError as refusal:
            return self._refused(pool, refusal)
        todo = plan(pool, desired, live)
        if todo.conflicts:
            return Applied(self._view(pool, conflict=_conflict(pool, todo.conflicts)), look_again=_LOOK_AGAIN)
        first = await self._carry_out(pool, todo, live)
        return self._refused(pool, first) if first else Applied(self._view(pool, applied=True))

    async def _confirm(self, pool: Pool) -> None:
        """One that was deleted while nobody watched must not get new children: raises :class:`NotFound`."""
        held = await self._api.get(POOLS, pool.namespace, pool.name)
        if held["metadata"]["uid"] != pool.uid:
            raise NotFound(404, "NotFound", f"{pool.namespace}/{pool.name} is another pool of that name by now")

    async def _find(self, pool: Pool, unseen: Iterable[Ref]) -> dict[Ref, Live]:
        """Objects of desired names that the watches do not show: somebody else's, or just made."""
        found: dict[Ref, Live] = {}
        for kind, name in unseen:
            with suppress(NotFound):
                found[kind, name] = await self._api.get(CHILDREN[kind], pool.namespace, name)
        return found

    async def _carry_out(self, pool: Pool, todo: Plan, live: Mapping[Ref, Live]) -> ApiError | None:
        """Do all of it and return the first refusal: what one child is refused is no reason to withhold the others."""
        refusals: list[ApiError] = []
        applied = [child for child in todo.apply if await _tried(self._apply(child), refusals)]
        deleted = [ref for ref in todo.delete if await _tried(self._delete(pool, ref, live[ref]), refusals)]
        for notice in _notices(pool, applied, deleted, live):
            self._recorder.record(pool, notice)
        return next(iter(refusals), None)

    async def _apply(self, child: Live) -> None:
        kind, _ = ref_of(child)
        self._cache.note_child(await self._api.apply(CHILDREN[kind], dict(child)))
        self._metrics.child_writes.labels(kind, "apply").inc()

    async def _delete(self, pool: Pool, ref: Ref, child: Live) -> None:
        kind, name = ref
        # It went before, or another has its name: the watch is about to tell.
        with suppress(NotFound, Conflict):
            await self._api.delete(CHILDREN[kind], pool.namespace, name, uid=child["metadata"]["uid"])
            self._metrics.child_writes.labels(kind, "delete").inc()

    def _refused(self, pool: Pool, refusal: ApiError) -> Applied:
        failure = f"The API server refused a child ({refusal.reason}): {refusal.message}"
        return Applied(self._view(pool, failure=failure), error=refusal)

    def _view(self, pool: Pool, *, applied: bool = False, conflict: str = "", failure: str = "") -> ChildrenView:
        deployment = self._cache.children(pool.key).get(("Deployment", lookaside_name(pool.name)), {})
        return ChildrenView(
            applied=applied,
            conflict=conflict,
            failure=failure,
            lookaside_available=(deployment.get("status") or {}).get("availableReplicas") or 0,
        )


def _conflict(pool: Pool, conflicts: tuple[Ref, ...]) -> str:
    return (
        f"Left alone, for they are not this pool's: {_names(conflicts)} in namespace {pool.namespace}. "
        "Delete what is there, or give the pool another name."
    )


async def _tried(step: Awaitable[None], refusals: list[ApiError]) -> bool:
    """Whether ``step`` was done; what the API server said against it goes to ``refusals``."""
    try:
        await step
    except ApiError as error:
        refusals.append(error)
        return False
    return True


def _notices(pool: Pool, applied: Sequence[Live], deleted: Sequence[Ref], live: Mapping[Ref, Live]) -> Iterator[Notice]:
    """One event for all that was made, one for all that was repaired, one for all that was removed."""
    settled = _is_settled(pool)
    repaired = [ref_of(child) for child in applied if _was_ours(child, live.get(ref_of(child)), settled)]
    made = [ref for ref in map(ref_of, applied) if ref not in repaired]
    if made:
        yield Notice("ChildrenApplied", f"Applied {_names(made)}.", action="Apply")
    if repaired:
        note = f"Put right {_names(repaired)}: somebody else had changed or deleted what this pool needs."
        yield Notice("DriftRepaired", note, warning=True, action="Apply")
    if deleted:
        yield Notice("Removed", f"Removed {_names(deleted)}, which the spec no longer asks for.", action="Delete")


def _was_ours(child: Live, before: Live | None, settled: bool) -> bool:
    """Whether it once stood as it is desired now: then it was somebody else who changed or deleted it."""
    if before is None:
        return settled
    annotations = before["metadata"].get("annotations") or {}
    return bool(annotations.get(DIGEST_ANNOTATION) == child["metadata"]["annotations"][DIGEST_ANNOTATION])


def _is_settled(pool: Pool) -> bool:
    """Whether the status says that this very spec was applied in full before."""
    return any(
        c["type"] == ConditionType.RECONCILING
        and c["reason"] == Reason.APPLIED
        and c.get("observedGeneration") == pool.generation
        for c in pool.status.get("conditions") or ()
    )


def _names(refs: Iterable[Ref]) -> str:
    return ", ".join(f"{kind} {name}" for kind, name in refs)

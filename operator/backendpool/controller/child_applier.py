"""Apply a pool's children: what ``drift.plan`` decides is written here, and reported in events.

Each write is bound to the object it was decided on (docs/adr/0007-conditional-writes.md), so that the
API server rejects it if a foreign object appeared in between or the decision was delayed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

from backendpool.api.conditions import (
    ChildrenStatus,
    ConditionType,
    Reason,
    find_condition,
    has_reason,
    lookaside_was_available,
)
from backendpool.api.constants import DIGEST_ANNOTATION, FIELD_MANAGER, lookaside_name
from backendpool.api.pool import Pool, PoolKey
from backendpool.api.spec import PoolSpec
from backendpool.children.deployment_status import is_rolled_out
from backendpool.children.desired import children
from backendpool.children.drift import Plan, belongs_to, covers, plan
from backendpool.children.manifest import ChildRef, KubernetesObject, ref_of
from backendpool.controller.cache import Cache
from backendpool.controller.event_recorder import EventRecorder, PoolEvent
from backendpool.controller.metrics import OperatorMetrics
from backendpool.controller.rollouts import RolloutLimiter
from backendpool.errors import ApiError, Conflict, NotFound
from backendpool.k8s.client import Api
from backendpool.k8s.resources import CHILD_RESOURCES, POOLS

_CONFLICT_RECHECK = 15.0
"""Seconds: no watch reports that a foreign object is gone, since only the pools' own children are watched."""

_ATTEMPTS = 3
"""A rollout updates the Deployment's status while it is applied: more than two such conflicts in a row have another
cause."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The outcome of an apply.

    ``live`` holds the children, also those that no watch has reported yet. ``error`` is the reason to retry.
    """

    live: Mapping[ChildRef, KubernetesObject]
    status: ChildrenStatus
    error: ApiError | None = None
    requeue_after: float | None = None
    rolling_out: bool = False


@dataclass(slots=True)
class _Progress:
    """The writes of a plan so far, and the children after them."""

    live: dict[ChildRef, KubernetesObject]
    applied: list[KubernetesObject] = field(default_factory=list)
    deleted: list[ChildRef] = field(default_factory=list)
    conflicts: list[ChildRef] = field(default_factory=list)
    errors: list[ApiError] = field(default_factory=list)
    postponed: list[ChildRef] = field(default_factory=list)


class ChildApplier:
    """Creates, applies and deletes the children of pools; ``image`` is that of lookaside pods.

    Whatever starts pods waits for ``rollouts`` to admit it.
    """

    def __init__(
        self,
        api: Api,
        cache: Cache,
        recorder: EventRecorder,
        metrics: OperatorMetrics,
        image: str,
        rollouts: RolloutLimiter,
    ) -> None:
        self._api = api
        self._cache = cache
        self._recorder = recorder
        self._writer = ChildWriter(api, metrics)
        self._image = image
        self._rollouts = rollouts

    async def apply(self, pool: Pool) -> Applied:
        """Bring the children of ``pool`` to their desired state.

        Raises :class:`NotFound` if the pool itself is gone, and ``Unreachable``.
        """
        pending = False
        try:
            applied = await self._apply_all(pool)
            pending = applied.status.rollout_pending
            if applied.rolling_out:
                pending = True
                self._rollouts.resume(pool.key)
            return applied
        finally:
            # A pool that does not roll out must not hold a slot that others wait for.
            if not pending:
                self._rollouts.finish(pool.key)

    def forget(self, key: PoolKey) -> None:
        """Drop the state of a deleted pool."""
        self._rollouts.finish(key)

    async def _apply_all(self, pool: Pool) -> Applied:
        before = dict(self._cache.children(pool.key))
        if not isinstance(pool.spec, PoolSpec):
            return Applied(before, children_status(pool, before))
        desired = children(pool, self._image)
        if pool.status and any(ref_of(child) not in before for child in desired):
            await self._confirm_exists(pool)
        todo = plan(pool, desired, before)
        if todo.conflicts:
            return _in_conflict(pool, before, todo.conflicts)
        done = await self._carry_out(pool, todo, before)
        for event in _events(pool, done, before):
            self._recorder.record(pool, event)
        if done.conflicts:
            return _in_conflict(pool, done.live, done.conflicts)
        rolling_out = any(_is_rolling_out(child, done.live.get(ref_of(child))) for child in desired)
        if done.errors:
            return replace(_failed(pool, done.live, done.errors[0]), rolling_out=rolling_out)
        status = replace(children_status(pool, done.live), applied=True, rollout_pending=bool(done.postponed))
        return Applied(done.live, status, rolling_out=rolling_out)

    async def _confirm_exists(self, pool: Pool) -> None:
        """Raise :class:`NotFound` if the pool was deleted unseen: it must not get new children.

        Not needed for a pool without a status: the first write of the status fails if it is gone.
        """
        held = await self._api.get(POOLS, pool.namespace, pool.name)
        if held["metadata"]["uid"] != pool.uid:
            raise NotFound(404, "NotFound", f"{pool.namespace}/{pool.name} was replaced by another pool with this name")

    async def _carry_out(self, pool: Pool, todo: Plan, before: Mapping[ChildRef, KubernetesObject]) -> _Progress:
        """Write up to the first conflict. An error of one child does not keep the others from being written."""
        done = _Progress(dict(before))
        for child in todo.apply:
            admitted = self._admit(pool, child, before.get(ref_of(child)), done)
            if admitted is None:
                continue
            try:
                await self._put(pool, admitted, done)
            except ApiError as error:
                done.errors.append(error)
            if done.conflicts:
                return done
        for ref in todo.delete:
            try:
                if await self._writer.delete(pool, ref, before[ref]["metadata"]["uid"]):
                    done.deleted.append(ref)
            except ApiError as error:
                done.errors.append(error)
        return done

    def _admit(
        self, pool: Pool, child: KubernetesObject, live: KubernetesObject | None, done: _Progress
    ) -> KubernetesObject | None:
        """Return the part of ``child`` to apply now: all, all but its pod template, or nothing."""
        if not _starts_pods(pool, child, live) or self._rollouts.admit(pool.key):
            return child
        done.postponed.append(ref_of(child))
        if live is None:
            return None
        rest = _with_template_of(live, child)
        return None if covers(live, rest) else rest

    async def _put(self, pool: Pool, child: KubernetesObject, done: _Progress) -> None:
        ref = ref_of(child)
        live, written = await self._writer.put(pool, child, known=ref in done.live)
        if not belongs_to(live, pool):
            done.conflicts.append(ref)
            return
        done.live[ref] = live
        self._cache.note_child(live)
        if written:
            done.applied.append(child)


class ChildWriter:
    """Writes single children, bound to the version that was read, and counts the writes."""

    def __init__(self, api: Api, metrics: OperatorMetrics) -> None:
        self._api = api
        self._metrics = metrics

    async def put(self, pool: Pool, child: KubernetesObject, *, known: bool) -> tuple[KubernetesObject, bool]:
        """Create or apply ``child`` unless it is up to date or foreign.

        Returns the object of that name afterwards, and whether it was written. ``known`` tells whether an object of
        that name is expected. Raises ``ApiError`` and ``Unreachable``.
        """
        for left in reversed(range(_ATTEMPTS)):
            try:
                return await self._try_put(pool, child, known)
            except Conflict:
                # It was created, changed or deleted since it was read.
                known = True
                if not left:
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def delete(self, pool: Pool, ref: ChildRef, uid: str) -> bool:
        """Return whether the object was deleted: not if it was gone already, or replaced by another one."""
        kind, name = ref
        with suppress(NotFound, Conflict):
            await self._api.delete(CHILD_RESOURCES[kind], pool.namespace, name, uid=uid)
            self._metrics.child_writes.labels(kind, "delete").inc()
            return True
        return False

    async def _try_put(self, pool: Pool, child: KubernetesObject, known: bool) -> tuple[KubernetesObject, bool]:
        live = await self._read(child) if known else None
        if live is None:
            return await self._create(child), True
        if not belongs_to(live, pool) or covers(live, child):
            return live, False
        if _cluster_ip(live) and _cluster_ip(live) != _cluster_ip(child):
            # clusterIP is immutable: a Service that an older version made is replaced by a headless one.
            await self.delete(pool, ref_of(live), live["metadata"]["uid"])
            return await self._create(child), True
        return await self._server_side_apply(child, live), True

    async def _read(self, child: KubernetesObject) -> KubernetesObject | None:
        kind, name = ref_of(child)
        with suppress(NotFound):
            return await self._api.get(CHILD_RESOURCES[kind], child["metadata"]["namespace"], name)
        return None

    async def _create(self, child: KubernetesObject) -> KubernetesObject:
        kind, _ = ref_of(child)
        created = await self._api.create(CHILD_RESOURCES[kind], dict(child))
        self._metrics.child_writes.labels(kind, "create").inc()
        return created

    async def _server_side_apply(self, child: KubernetesObject, live: KubernetesObject) -> KubernetesObject:
        kind, _ = ref_of(child)
        if upgraded := upgrade_managed_fields(live["metadata"].get("managedFields") or ()):
            live = await self._api.merge(CHILD_RESOURCES[kind], _bound_to(live, {"managedFields": upgraded}))
        applied = await self._api.apply(CHILD_RESOURCES[kind], {**child, **_bound_to(live, child["metadata"])})
        self._metrics.child_writes.labels(kind, "apply").inc()
        return applied


def children_status(pool: Pool, live: Mapping[ChildRef, KubernetesObject]) -> ChildrenStatus:
    """Return what the live children show by themselves."""
    deployment = live.get(("Deployment", lookaside_name(pool.name)), {})
    return ChildrenStatus(lookaside_available=(deployment.get("status") or {}).get("availableReplicas") or 0)


def upgrade_managed_fields(managed: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Turn the operator's ``Update`` entries of managed fields into one ``Apply`` entry; empty if there are none.

    To the API server, a create and an apply are two managers, even under one name: an apply would not remove fields
    that the create has set (client-go's csaupgrade does the same). Entries of other managers stay as they are.
    """
    ours = [entry for entry in managed if _is_ours(entry)]
    if all(entry["operation"] == "Apply" for entry in ours):
        return []
    fields = reduce(_union, (entry["fieldsV1"] for entry in ours))
    others = [entry for entry in managed if not _is_ours(entry)]
    return [*others, {**ours[0], "operation": "Apply", "fieldsV1": fields}]


def _is_ours(entry: Mapping[str, Any]) -> bool:
    """Whether the entry lists fields that this operator wrote."""
    return (
        entry.get("manager") == FIELD_MANAGER
        and not entry.get("subresource")
        and entry.get("operation") in ("Apply", "Update")
        and isinstance(entry.get("fieldsV1"), dict)
    )


def _union(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Not recursive: managed fields may be deeper than Python's stack."""
    union: dict[str, Any] = {}
    left = [(union, one, other)]
    while left:
        into, mine, others = left.pop()
        for key in mine.keys() | others.keys():
            into[key] = {}
            left.append((into[key], mine.get(key) or {}, others.get(key) or {}))
    return union


def _bound_to(live: KubernetesObject, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Add the uid and version of ``live`` to ``metadata``: the API server rejects the write if they differ."""
    identity = {key: live["metadata"][key] for key in ("namespace", "name", "uid", "resourceVersion")}
    return {"metadata": {**metadata, **identity}}


def _cluster_ip(obj: KubernetesObject) -> str | None:
    cluster_ip: str | None = obj.get("spec", {}).get("clusterIP")
    return cluster_ip


def _failed(pool: Pool, live: Mapping[ChildRef, KubernetesObject], error: ApiError) -> Applied:
    failure = f"The API server rejected a child ({error.reason}): {error.message}"
    return Applied(live, replace(children_status(pool, live), failure=failure), error=error)


def _in_conflict(pool: Pool, live: Mapping[ChildRef, KubernetesObject], conflicts: Sequence[ChildRef]) -> Applied:
    sentence = (
        f"These objects in namespace {pool.namespace} are not the pool's and are left alone: {_names(conflicts)}. "
        "Delete them, or rename the pool."
    )
    return Applied(live, replace(children_status(pool, live), conflict=sentence), requeue_after=_CONFLICT_RECHECK)


def _events(pool: Pool, done: _Progress, before: Mapping[ChildRef, KubernetesObject]) -> Iterator[PoolEvent]:
    """Yield at most three events: one for all applied children, one for all repaired ones, one for all removed ones."""
    was_applied = _was_applied(pool)
    repaired = [ref_of(child) for child in done.applied if _has_drifted(child, before.get(ref_of(child)), was_applied)]
    made = [ref for ref in map(ref_of, done.applied) if ref not in repaired]
    if made:
        yield PoolEvent("ChildrenApplied", f"Applied {_names(made)}.", action="Apply")
    if repaired:
        note = f"Repaired {_names(repaired)}, which had been changed or deleted manually."
        yield PoolEvent("DriftRepaired", note, warning=True, action="Apply")
    if done.deleted:
        note = f"Removed {_names(done.deleted)}, which the spec no longer needs."
        yield PoolEvent("Removed", note, action="Delete")


def _has_drifted(child: KubernetesObject, before: KubernetesObject | None, was_applied: bool) -> bool:
    """Whether the child was once as it is desired now: then somebody else has changed or deleted it."""
    return was_applied if before is None else _has_digest_of(child, before)


def _was_applied(pool: Pool) -> bool:
    """Whether the status says that the spec of this generation was applied in full before."""
    reconciling = find_condition(pool.status, ConditionType.RECONCILING)
    return (
        reconciling is not None
        and reconciling["reason"] in (Reason.APPLIED, Reason.WATCH_REFUSED)
        and reconciling.get("observedGeneration") == pool.generation
    )


def _starts_pods(pool: Pool, child: KubernetesObject, live: KubernetesObject | None) -> bool:
    """Whether applying ``child`` is a rollout. The repair of drift is none."""
    if child["kind"] != "Deployment" or has_reason(pool.status, ConditionType.RECONCILING, Reason.APPLY_FAILED):
        return False
    if live is None:
        return not lookaside_was_available(pool.status)
    return not _has_digest_of(child, live) and not covers(live["spec"]["template"], child["spec"]["template"])


def _is_rolling_out(child: KubernetesObject, live: KubernetesObject | None) -> bool:
    return (
        child["kind"] == "Deployment" and live is not None and _has_digest_of(child, live) and not is_rolled_out(live)
    )


def _with_template_of(live: KubernetesObject, child: KubernetesObject) -> KubernetesObject:
    """Return ``child`` with the pod template and the digest of ``live``."""
    annotations = {**child["metadata"]["annotations"], DIGEST_ANNOTATION: _digest_of(live)}
    spec = {**child["spec"], "template": live["spec"]["template"]}
    return {**child, "metadata": {**child["metadata"], "annotations": annotations}, "spec": spec}


def _has_digest_of(child: KubernetesObject, live: KubernetesObject) -> bool:
    return bool(_digest_of(live) == child["metadata"]["annotations"][DIGEST_ANNOTATION])


def _digest_of(live: KubernetesObject) -> str:
    return str((live["metadata"].get("annotations") or {}).get(DIGEST_ANNOTATION, ""))


def _names(refs: Sequence[ChildRef]) -> str:
    return ", ".join(f"{kind} {name}" for kind, name in refs)

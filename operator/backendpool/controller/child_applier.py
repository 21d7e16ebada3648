"""The children of a pool, brought to what its spec asks for: the writing half of a reconcile.

What to do is decided by ``drift.plan``; here it is done, and told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from backendpool.api.conditions import (
    ChildrenStatus,
    ConditionType,
    Reason,
    find_condition,
    has_reason,
    lookaside_was_available,
)
from backendpool.api.constants import DIGEST_ANNOTATION, lookaside_name
from backendpool.api.pool import Pool, PoolKey
from backendpool.api.spec import PoolSpec
from backendpool.children.desired import children
from backendpool.children.drift import Plan, Ref, belongs_to, covers, plan, ref_of
from backendpool.controller.cache import Cache, Live
from backendpool.controller.child_writer import ChildWriter
from backendpool.controller.event_recorder import EventRecorder, Notice
from backendpool.controller.rollouts import RolloutLimiter, is_complete
from backendpool.errors import ApiError, NotFound
from backendpool.k8s.client import Api
from backendpool.k8s.resources import POOLS

_LOOK_AGAIN = 15.0
"""Seconds: no watch tells when a foreign object goes away, for only our own children are watched."""


@dataclass(frozen=True, slots=True)
class Applied:
    """How the children stand: ``view`` for the status, ``error`` to come back for, or when to look again.

    ``live`` are the objects themselves: also those that no watch has brought yet.
    """

    live: Mapping[Ref, Live]
    view: ChildrenStatus
    error: ApiError | None = None
    look_again: float | None = None
    rolling_out: bool = False


@dataclass(slots=True)
class _Done:
    """What became of a plan, and the children as they then stand."""

    live: dict[Ref, Live]
    applied: list[Live] = field(default_factory=list)
    deleted: list[Ref] = field(default_factory=list)
    conflicts: list[Ref] = field(default_factory=list)
    refusals: list[ApiError] = field(default_factory=list)
    postponed: list[Ref] = field(default_factory=list)


class ChildApplier:
    """Applies, repairs and removes the children of pools, by ``writer``; ``image`` is what lookaside pods run.

    What starts pods is applied when ``rollouts`` admits it.
    """

    def __init__(
        self,
        api: Api,
        cache: Cache,
        recorder: EventRecorder,
        writer: ChildWriter,
        image: str,
        rollouts: RolloutLimiter,
    ) -> None:
        self._api = api
        self._cache = cache
        self._recorder = recorder
        self._writer = writer
        self._image = image
        self._rollouts = rollouts

    async def ensure(self, pool: Pool) -> Applied:
        """Make the children of ``pool`` stand as desired.

        Raises :class:`NotFound` where the pool itself is gone, and ``Unreachable`` where the cluster is.
        """
        pending = False
        try:
            applied = await self._ensure(pool)
            pending = applied.view.rollout_pending
            if applied.rolling_out:
                pending = True
                self._rollouts.resume(pool.key)
            return applied
        finally:
            # A pool that does not roll out must not hold a slot that others wait for.
            if not pending:
                self._rollouts.finish(pool.key)

    async def _ensure(self, pool: Pool) -> Applied:
        before = dict(self._cache.children(pool.key))
        if not isinstance(pool.spec, PoolSpec):
            return Applied(before, children_view(pool, before))
        desired = children(pool, self._image)
        if pool.status and any(ref_of(child) not in before for child in desired):
            await self._confirm(pool)
        todo = plan(pool, desired, before)
        if todo.conflicts:
            return _in_conflict(pool, before, todo.conflicts)
        done = await self._carry_out(pool, todo, before)
        for notice in _notices(pool, done, before):
            self._recorder.record(pool, notice)
        if done.conflicts:
            return _in_conflict(pool, done.live, done.conflicts)
        rolling_out = any(_is_rolling_out(child, done.live.get(ref_of(child))) for child in desired)
        if done.refusals:
            return replace(_refused(pool, done.live, done.refusals[0]), rolling_out=rolling_out)
        view = replace(children_view(pool, done.live), applied=True, rollout_pending=bool(done.postponed))
        return Applied(done.live, view, rolling_out=rolling_out)

    def forget(self, key: PoolKey) -> None:
        """The pool is gone."""
        self._rollouts.finish(key)

    async def _confirm(self, pool: Pool) -> None:
        """One that was deleted while nobody watched must not get new children: raises :class:`NotFound`.

        One that never had any gets a status with its children, and what the API server says to that is as good.
        """
        held = await self._api.get(POOLS, pool.namespace, pool.name)
        if held["metadata"]["uid"] != pool.uid:
            raise NotFound(404, "NotFound", f"{pool.namespace}/{pool.name} is another pool of that name by now")

    async def _carry_out(self, pool: Pool, todo: Plan, before: Mapping[Ref, Live]) -> _Done:
        """Do it, up to the first foreign object. What one child is refused is no reason to withhold the others."""
        done = _Done(dict(before))
        for child in todo.apply:
            wanted = self._admitted(pool, child, before.get(ref_of(child)), done)
            if wanted is None:
                continue
            try:
                await self._put(pool, wanted, done)
            except ApiError as refusal:
                done.refusals.append(refusal)
            if done.conflicts:
                return done
        for ref in todo.delete:
            try:
                if await self._writer.delete(pool, ref, before[ref]["metadata"]["uid"]):
                    done.deleted.append(ref)
            except ApiError as refusal:
                done.refusals.append(refusal)
        return done

    def _admitted(self, pool: Pool, child: Live, live: Live | None, done: _Done) -> Live | None:
        """The part of ``child`` to apply now: all of it, all but its pod template, or nothing."""
        if not _starts_pods(pool, child, live) or self._rollouts.admit(pool.key):
            return child
        done.postponed.append(ref_of(child))
        if live is None:
            return None
        rest = _with_template_of(live, child)
        return None if covers(live, rest) else rest

    async def _put(self, pool: Pool, child: Live, done: _Done) -> None:
        ref = ref_of(child)
        there, written = await self._writer.put(pool, child, known=ref in done.live)
        if not belongs_to(there, pool):
            done.conflicts.append(ref)
            return
        done.live[ref] = there
        self._cache.note_child(there)
        if written:
            done.applied.append(child)


def children_view(pool: Pool, live: Mapping[Ref, Live]) -> ChildrenStatus:
    """What the children themselves show."""
    deployment = live.get(("Deployment", lookaside_name(pool.name)), {})
    return ChildrenStatus(lookaside_available=(deployment.get("status") or {}).get("availableReplicas") or 0)


def _refused(pool: Pool, live: Mapping[Ref, Live], refusal: ApiError) -> Applied:
    failure = f"The API server refused a child ({refusal.reason}): {refusal.message}"
    return Applied(live, replace(children_view(pool, live), failure=failure), error=refusal)


def _in_conflict(pool: Pool, live: Mapping[Ref, Live], conflicts: Sequence[Ref]) -> Applied:
    sentence = (
        f"Left alone, for they are not this pool's: {_names(conflicts)} in namespace {pool.namespace}. "
        "Delete what is there, or give the pool another name."
    )
    return Applied(live, replace(children_view(pool, live), conflict=sentence), look_again=_LOOK_AGAIN)


def _notices(pool: Pool, done: _Done, before: Mapping[Ref, Live]) -> Iterator[Notice]:
    """One event for all that was made, one for all that was repaired, one for all that was removed."""
    was_applied = _was_applied(pool)
    repaired = [ref_of(child) for child in done.applied if _was_ours(child, before.get(ref_of(child)), was_applied)]
    made = [ref for ref in map(ref_of, done.applied) if ref not in repaired]
    if made:
        yield Notice("ChildrenApplied", f"Applied {_names(made)}.", action="Apply")
    if repaired:
        note = f"Put right {_names(repaired)}: somebody else had changed or deleted what this pool needs."
        yield Notice("DriftRepaired", note, warning=True, action="Apply")
    if done.deleted:
        yield Notice("Removed", f"Removed {_names(done.deleted)}, which the spec no longer asks for.", action="Delete")


def _starts_pods(pool: Pool, child: Live, live: Live | None) -> bool:
    """Whether applying ``child`` is a rollout. Drift is repaired without waiting."""
    if child["kind"] != "Deployment" or has_reason(pool.status, ConditionType.RECONCILING, Reason.APPLY_FAILED):
        return False
    if live is None:
        return not lookaside_was_available(pool.status)
    return not _has_digest_of(child, live) and not covers(live["spec"]["template"], child["spec"]["template"])


def _with_template_of(live: Live, child: Live) -> Live:
    """``child`` with the pod template and the digest of ``live``."""
    annotations = {**child["metadata"]["annotations"], DIGEST_ANNOTATION: _digest_of(live)}
    spec = {**child["spec"], "template": live["spec"]["template"]}
    return {**child, "metadata": {**child["metadata"], "annotations": annotations}, "spec": spec}


def _is_rolling_out(child: Live, live: Live | None) -> bool:
    return child["kind"] == "Deployment" and live is not None and _has_digest_of(child, live) and not is_complete(live)


def _was_ours(child: Live, before: Live | None, was_applied: bool) -> bool:
    """Whether it once stood as it is desired now: then it was somebody else who changed or deleted it."""
    return was_applied if before is None else _has_digest_of(child, before)


def _has_digest_of(child: Live, live: Live) -> bool:
    return bool(_digest_of(live) == child["metadata"]["annotations"][DIGEST_ANNOTATION])


def _digest_of(live: Live) -> str:
    return str((live["metadata"].get("annotations") or {}).get(DIGEST_ANNOTATION, ""))


def _was_applied(pool: Pool) -> bool:
    """Whether the status says that the spec of this generation was applied in full before."""
    reconciling = find_condition(pool.status, ConditionType.RECONCILING)
    return (
        reconciling is not None
        and reconciling["reason"] in (Reason.APPLIED, Reason.WATCH_REFUSED)
        and reconciling.get("observedGeneration") == pool.generation
    )


def _names(refs: Sequence[Ref]) -> str:
    return ", ".join(f"{kind} {name}" for kind, name in refs)

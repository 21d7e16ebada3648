"""The conditions of a pool's status. Pure, no clock.

They follow the API conventions (a map by type, ``observedGeneration``, ``lastTransitionTime`` only on a change of
status) and kstatus, so that ``kubectl wait``, Flux, Argo CD and Helm understand a pool: ``Reconciling`` and
``Stalled`` are abnormal-true, and never both true.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from backendpool.api.constants import lookaside_name
from backendpool.api.endpoints import EndpointSet
from backendpool.api.pool import Pool
from backendpool.api.spec import PoolSpec
from backendpool.errors import SpecError


class ConditionType(StrEnum):
    """The conditions of a pool, in the order in which they are listed."""

    READY = "Ready"
    ENDPOINTS_AVAILABLE = "EndpointsAvailable"
    LOOKASIDE_AVAILABLE = "LookasideAvailable"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


class Reason(StrEnum):
    """Why a condition has its status; also the reasons of the pool's Kubernetes events."""

    POOL_READY = "PoolReady"
    ENDPOINTS_READY = "EndpointsReady"
    ENDPOINTS_PENDING = "EndpointsPending"
    ENDPOINTS_STALE = "EndpointsStale"
    ALL_DRAINING = "AllDraining"
    NO_ENDPOINTS = "NoEndpoints"
    LOOKASIDE_READY = "LookasideReady"
    LOOKASIDE_STARTING = "LookasideStarting"
    LOOKASIDE_DEGRADED = "LookasideDegraded"
    LOOKASIDE_UNAVAILABLE = "LookasideUnavailable"
    DISABLED = "Disabled"
    APPLYING = "Applying"
    APPLIED = "Applied"
    ROLLOUT_PENDING = "RolloutPending"
    APPLY_FAILED = "ApplyFailed"
    RECONCILE_ERROR = "ReconcileError"
    WATCH_REFUSED = "WatchRefused"
    NOT_STALLED = "NotStalled"
    CONFLICT = "Conflict"
    INVALID_SPEC = "InvalidSpec"

    @property
    def is_warning(self) -> bool:
        """Whether the event for this reason has the type Warning instead of Normal."""
        return self in _WARNINGS


_WARNINGS: Final = frozenset(
    {
        Reason.ENDPOINTS_STALE,
        Reason.ALL_DRAINING,
        Reason.NO_ENDPOINTS,
        Reason.LOOKASIDE_DEGRADED,
        Reason.LOOKASIDE_UNAVAILABLE,
        Reason.APPLY_FAILED,
        Reason.RECONCILE_ERROR,
        Reason.WATCH_REFUSED,
        Reason.CONFLICT,
        Reason.INVALID_SPEC,
    }
)


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition; ``status`` None is ``Unknown``."""

    type: ConditionType
    status: bool | None
    reason: Reason
    message: str


_QUIET: Final = frozenset({Reason.APPLIED, Reason.DISABLED, Reason.NOT_STALLED})
"""Reasons that make no event when a pool gets its first conditions."""
_ORDER: Final = {kind: position for position, kind in enumerate(ConditionType)}
_STATUS_TEXT: Final[Mapping[bool | None, str]] = {True: "True", False: "False", None: "Unknown"}
_STATUS_BY_TEXT: Final = {text: status for status, text in _STATUS_TEXT.items()}
_LONGEST_MESSAGE: Final = 32768
"""Characters, the limit of metav1.Condition. A longer message would get the whole status rejected."""
_ENDPOINT_SLICE: Final = "EndpointSlice"
_NOT_BLOCKING: Final = frozenset({Reason.WATCH_REFUSED, Reason.ROLLOUT_PENDING})
"""Reasons that leave work to do and do not affect calls."""


@dataclass(frozen=True, slots=True)
class ChildrenStatus:
    """The state of a pool's children, as far as the conditions need it.

    ``conflict``, ``failure`` and ``error`` are whole sentences that say what to do, or empty.
    """

    applied: bool = False
    """Every child matches its desired state, except for a pending rollout."""
    rollout_pending: bool = False
    """The lookaside's Deployment waits until fewer others are rolling out."""
    conflict: str = ""
    """An object that has a child's name and is not the pool's: only a person can resolve it."""
    failure: str = ""
    """Why the last apply failed; it is retried."""
    error: str = ""
    """The operator's own error; the reconcile is retried."""
    lookaside_available: int = 0
    """Available replicas of the lookaside Deployment."""
    lookaside_problem: str = ""
    """Why a replica is unavailable, as a sentence without its full stop; empty if all are available or the reason is
    unknown."""


def compute_conditions(
    pool: Pool, endpoints: EndpointSet | None, children: ChildrenStatus, unwatchable: Mapping[str, str]
) -> tuple[Condition, ...]:
    """Compute all conditions of ``pool``; the arguments are those of :func:`~backendpool.api.status.build_status`."""
    stalled = _stalled(pool, children)
    other_kinds = {kind: error for kind, error in unwatchable.items() if kind != _ENDPOINT_SLICE}
    reconciling = _reconciling(stalled, children, other_kinds)
    stale = unwatchable.get(_ENDPOINT_SLICE)
    available = _endpoints_stale(stale) if stale else _endpoints_available(pool, endpoints)
    lookaside = _lookaside_available(pool, children)
    needed = [available]
    if lookaside.reason is not Reason.DISABLED:
        needed.append(lookaside)
    blocking = [
        *(one for one in (stalled, reconciling) if one.status and one.reason not in _NOT_BLOCKING),
        *(one for one in needed if not one.status),
    ]
    return (_ready(pool, blocking), available, lookaside, reconciling, stalled)


def _ready(pool: Pool, blocking: list[Condition]) -> Condition:
    if blocking:
        first = blocking[0]
        # A stale list may still be right.
        status = None if first.reason is Reason.ENDPOINTS_STALE else False
        return Condition(ConditionType.READY, status, first.reason, first.message)
    return Condition(ConditionType.READY, True, Reason.POOL_READY, f"The pool {pool.name} takes calls.")


def _stalled(pool: Pool, children: ChildrenStatus) -> Condition:
    kind = ConditionType.STALLED
    if children.error:
        return Condition(kind, False, Reason.NOT_STALLED, "The operator retries after an error.")
    if isinstance(pool.spec, SpecError):
        message = f"The spec is invalid for this operator: {pool.spec}. Change it, or update the operator and its CRD."
        return Condition(kind, True, Reason.INVALID_SPEC, message)
    if children.conflict:
        return Condition(kind, True, Reason.CONFLICT, children.conflict)
    return Condition(kind, False, Reason.NOT_STALLED, "No manual action is needed.")


def _reconciling(stalled: Condition, children: ChildrenStatus, unwatchable: Mapping[str, str]) -> Condition:
    """Compute ``Reconciling``; kstatus forbids it together with ``Stalled``."""
    kind = ConditionType.RECONCILING
    if stalled.status:
        return Condition(kind, False, stalled.reason, "The operator waits until the pool is no longer stalled.")
    if children.error:
        return Condition(kind, True, Reason.RECONCILE_ERROR, children.error)
    if children.failure:
        return Condition(kind, True, Reason.APPLY_FAILED, children.failure)
    if not children.applied:
        return Condition(kind, True, Reason.APPLYING, "The operator is applying the pool's children.")
    if children.rollout_pending:
        message = "The lookaside's Deployment waits for the rollouts of other lookasides."
        return Condition(kind, True, Reason.ROLLOUT_PENDING, message)
    if unwatchable:
        return Condition(kind, True, Reason.WATCH_REFUSED, _unwatchable_message(unwatchable))
    return Condition(kind, False, Reason.APPLIED, "All children match the spec.")


def _unwatchable_message(unwatchable: Mapping[str, str]) -> str:
    first, *others = sorted(unwatchable)
    also = f" The same holds for {', '.join(others)}." if others else ""
    return (
        f"The operator has lost permission to watch {first}: {unwatchable[first]}.{also} "
        "Calls continue, but changes to the pool or its children may go unnoticed."
    )


def _endpoints_stale(error: str) -> Condition:
    message = f"The operator has lost permission to watch EndpointSlices: {error}. The list may be stale."
    return Condition(ConditionType.ENDPOINTS_AVAILABLE, None, Reason.ENDPOINTS_STALE, message)


def _endpoints_available(pool: Pool, endpoints: EndpointSet | None) -> Condition:
    kind = ConditionType.ENDPOINTS_AVAILABLE
    if endpoints is None:
        message = f"The endpoints of the Service {pool.name} are not known yet; the last list is kept until then."
        return Condition(kind, None, Reason.ENDPOINTS_PENDING, message)
    ready, draining = len(endpoints.ready), len(endpoints.draining)
    if ready:
        message = f"{ready} {_plural(ready, 'endpoint is', 'endpoints are')} ready."
        return Condition(kind, True, Reason.ENDPOINTS_READY, message)
    if draining:
        message = (
            f"{_plural(draining, 'The only endpoint is', f'All {draining} endpoints are')} terminating, and "
            f"{_plural(draining, 'serves', 'serve')} until then. {_advice(pool)}"
        )
        return Condition(kind, False, Reason.ALL_DRAINING, message)
    return Condition(kind, False, Reason.NO_ENDPOINTS, f"No pod can take calls. {_advice(pool)}")


def _lookaside_available(pool: Pool, children: ChildrenStatus) -> Condition:
    kind = ConditionType.LOOKASIDE_AVAILABLE
    available = children.lookaside_available
    if isinstance(pool.spec, PoolSpec) and not pool.spec.lookaside.replicas:
        message = "spec.lookaside.replicas is 0: the pool has no lookaside."
        return Condition(kind, False, Reason.DISABLED, message)
    problem = children.lookaside_problem
    if available:
        message = f"{available} {_plural(available, 'replica is', 'replicas are')} available."
        if problem:
            return Condition(kind, True, Reason.LOOKASIDE_DEGRADED, f"{message} Another replica is not: {problem}.")
        return Condition(kind, True, Reason.LOOKASIDE_READY, message)
    if problem:
        return Condition(kind, False, Reason.LOOKASIDE_UNAVAILABLE, f"No replica is available: {problem}.")
    name = lookaside_name(pool.name)
    if lookaside_was_available(pool.status):
        message = f"No replica is available: see kubectl describe deployment {name} -n {pool.namespace}."
        return Condition(kind, False, Reason.LOOKASIDE_UNAVAILABLE, message)
    message = f"The Deployment {name} has no available replica yet."
    return Condition(kind, False, Reason.LOOKASIDE_STARTING, message)


def find_condition(status: Mapping[str, Any], kind: ConditionType) -> Mapping[str, Any] | None:
    """Return the condition of this type in a status document, or None."""
    return next((one for one in status.get("conditions") or () if one["type"] == kind), None)


def has_reason(status: Mapping[str, Any], kind: ConditionType, *reasons: Reason) -> bool:
    """Return whether a status document has the condition with one of these reasons."""
    condition = find_condition(status, kind)
    return condition is not None and condition["reason"] in reasons


def lookaside_was_available(status: Mapping[str, Any]) -> bool:
    """Return whether a replica was available at or before the time of ``status``."""
    return has_reason(
        status,
        ConditionType.LOOKASIDE_AVAILABLE,
        Reason.LOOKASIDE_READY,
        Reason.LOOKASIDE_DEGRADED,
        Reason.LOOKASIDE_UNAVAILABLE,
    )


def _advice(pool: Pool) -> str:
    if isinstance(pool.spec, SpecError):
        return "Check the pods that the pool's Service selects."
    selector = ",".join(f"{key}={value}" for key, value in sorted(pool.spec.selector.items()))
    return (
        f"Check that pods are ready and serve gRPC on port {pool.spec.port}: "
        f"kubectl get pods -n {pool.namespace} -l {selector}."
    )


def _plural(count: int, one: str, many: str) -> str:
    return one if count == 1 else many


def merge_conditions(
    existing: Sequence[Mapping[str, Any]], conditions: Iterable[Condition], generation: int, now: datetime
) -> list[dict[str, Any]]:
    """Merge ``conditions`` into the existing list: ours first, in their fixed order, then those of other writers.

    ``now`` becomes the ``lastTransitionTime`` of those whose status changes.
    """
    before = {item["type"]: item for item in existing}
    ours = sorted(conditions, key=lambda condition: _ORDER[condition.type])
    merged = [_to_json(condition, before.get(condition.type), generation, now) for condition in ours]
    written = {item["type"] for item in merged}
    return merged + [dict(item) for item in existing if item["type"] not in written]


def transitions(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> tuple[Condition, ...]:
    """Return the conditions whose change deserves an event, each reason once.

    That is each change of status or reason. ``Ready`` repeats the reason of the condition that blocks it, so only a
    change of its status counts, and it comes last.
    """
    before = {item["type"]: item for item in old}
    changed: dict[Reason, Condition] = {}
    for item in sorted(new, key=lambda item: item["type"] == ConditionType.READY):
        if item["type"] in _ORDER and _is_transition(item, before.get(item["type"])):
            condition = _from_json(item)
            changed.setdefault(condition.reason, condition)
    return tuple(changed.values())


def _to_json(condition: Condition, before: Mapping[str, Any] | None, generation: int, now: datetime) -> dict[str, Any]:
    status = _STATUS_TEXT[condition.status]
    same = before is not None and before.get("status") == status
    since = before.get("lastTransitionTime") if before is not None and same else None
    return {
        "type": str(condition.type),
        "status": status,
        "observedGeneration": generation,
        "lastTransitionTime": since or now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "reason": str(condition.reason),
        "message": condition.message[:_LONGEST_MESSAGE],
    }


def _from_json(item: Mapping[str, Any]) -> Condition:
    return Condition(
        type=ConditionType(item["type"]),
        status=_STATUS_BY_TEXT[item["status"]],
        reason=Reason(item["reason"]),
        message=item["message"],
    )


def _is_transition(item: Mapping[str, Any], before: Mapping[str, Any] | None) -> bool:
    if before is None:
        return item["reason"] not in _QUIET
    fields = ("status",) if item["type"] == ConditionType.READY else ("status", "reason")
    return any(item[field] != before[field] for field in fields)

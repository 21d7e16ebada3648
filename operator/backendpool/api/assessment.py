"""How a pool is, judged by all that is known of it. Pure, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from backendpool.api.conditions import Condition, ConditionType, Reason
from backendpool.api.constants import lookaside_name
from backendpool.api.endpoints import EndpointSet
from backendpool.api.pool import Pool
from backendpool.api.spec import PoolSpec
from backendpool.errors import SpecError

_SLICES: Final = "EndpointSlice"
_HARMLESS: Final = frozenset({Reason.WATCH_REFUSED, Reason.ROLLOUT_PENDING})
"""Work that is left, and keeps no call from going where it should."""


@dataclass(frozen=True, slots=True)
class ChildrenView:
    """What a reconciliation knows of a pool's children when it writes the status.

    ``conflict``, ``failure`` and ``error`` are whole sentences that say what to do, empty where there is none.
    """

    applied: bool = False
    """Every child matches its desired state, except for a pending rollout."""
    rollout_pending: bool = False
    """The lookaside's Deployment waits until fewer others are rolled out."""
    conflict: str = ""
    """An object of a child's name that is not the pool's: a person has to decide."""
    failure: str = ""
    """Why the last apply failed; it is tried again."""
    error: str = ""
    """The operator's own error; the reconcile is retried."""
    lookaside_available: int = 0
    """Available replicas of the lookaside Deployment."""
    lookaside_problem: str = ""
    """Why one is not available, as a sentence without its stop; empty where all are, or nobody knows."""


def assess(
    pool: Pool, endpoints: EndpointSet | None, children: ChildrenView, refused: Mapping[str, str]
) -> tuple[Condition, ...]:
    """The conditions of ``pool``; the arguments are those of :func:`~backendpool.api.status.build_status`."""
    stalled = _stalled(pool, children)
    reconciling = _reconciling(stalled, children, {kind: refused[kind] for kind in refused if kind != _SLICES})
    stale = refused.get(_SLICES)
    available = _endpoints_stale(stale) if stale else _endpoints_available(pool, endpoints)
    lookaside = _lookaside_available(pool, children)
    needed = [available]
    if lookaside.reason is not Reason.DISABLED:
        needed.append(lookaside)
    hindrances = [
        *(condition for condition in (stalled, reconciling) if condition.status and condition.reason not in _HARMLESS),
        *(condition for condition in needed if not condition.status),
    ]
    return (_ready(pool, hindrances), available, lookaside, reconciling, stalled)


def _ready(pool: Pool, hindrances: list[Condition]) -> Condition:
    if hindrances:
        first = hindrances[0]
        # Of a list that may be old nobody knows that it is wrong.
        status = None if first.reason is Reason.ENDPOINTS_STALE else False
        return Condition(ConditionType.READY, status, first.reason, first.message)
    return Condition(ConditionType.READY, True, Reason.POOL_READY, f"The pool {pool.name} takes calls.")


def _stalled(pool: Pool, children: ChildrenView) -> Condition:
    kind = ConditionType.STALLED
    if children.error:
        return Condition(kind, False, Reason.NOT_STALLED, "The operator retries after an error.")
    if isinstance(pool.spec, SpecError):
        message = f"The spec cannot be acted on; {pool.spec}. Change it, or update the operator and its CRD."
        return Condition(kind, True, Reason.INVALID_SPEC, message)
    if children.conflict:
        return Condition(kind, True, Reason.CONFLICT, children.conflict)
    return Condition(kind, False, Reason.NOT_STALLED, "Nothing waits for a person.")


def _reconciling(stalled: Condition, children: ChildrenView, refused: Mapping[str, str]) -> Condition:
    """kstatus: work under way. Never with Stalled, which says that there is nothing left to try."""
    kind = ConditionType.RECONCILING
    if stalled.status:
        return Condition(kind, False, stalled.reason, "Nothing is under way until the pool can be acted on.")
    if children.error:
        return Condition(kind, True, Reason.RECONCILE_ERROR, children.error)
    if children.failure:
        return Condition(kind, True, Reason.APPLY_FAILED, children.failure)
    if not children.applied:
        return Condition(kind, True, Reason.APPLYING, "The operator is applying the pool's children.")
    if children.rollout_pending:
        message = "The lookaside's Deployment is applied when fewer other lookasides are starting."
        return Condition(kind, True, Reason.ROLLOUT_PENDING, message)
    if refused:
        return Condition(kind, True, Reason.WATCH_REFUSED, _unwatched(refused))
    return Condition(kind, False, Reason.APPLIED, "All that the pool needs stands as its spec asks.")


def _unwatched(refused: Mapping[str, str]) -> str:
    first, *others = sorted(refused)
    also = f" Nor may it watch {', '.join(others)}." if others else ""
    return (
        f"The operator may not watch objects of the kind {first}: {refused[first]}.{also} "
        "The pool is served as it was; what is changed in it, or in what is made of it, may go unseen."
    )


def _endpoints_stale(refused: str) -> Condition:
    message = f"The operator may not watch EndpointSlices: {refused}. The list is as it was when it last could."
    return Condition(ConditionType.ENDPOINTS_AVAILABLE, None, Reason.ENDPOINTS_STALE, message)


def _endpoints_available(pool: Pool, endpoints: EndpointSet | None) -> Condition:
    kind = ConditionType.ENDPOINTS_AVAILABLE
    if endpoints is None:
        message = f"The endpoints of the Service {pool.name} are not known yet; until then the last list stands."
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


def _lookaside_available(pool: Pool, children: ChildrenView) -> Condition:
    kind = ConditionType.LOOKASIDE_AVAILABLE
    available = children.lookaside_available
    if isinstance(pool.spec, PoolSpec) and not pool.spec.lookaside.replicas:
        message = "The pool has no lookaside: set spec.lookaside.replicas to 2 to have one."
        return Condition(kind, False, Reason.DISABLED, message)
    problem = children.lookaside_problem
    if available:
        message = f"{available} {_plural(available, 'replica is', 'replicas are')} available."
        if problem:
            return Condition(kind, True, Reason.LOOKASIDE_DEGRADED, f"{message} Another one is not: {problem}.")
        return Condition(kind, True, Reason.LOOKASIDE_READY, message)
    if problem:
        return Condition(kind, False, Reason.LOOKASIDE_UNAVAILABLE, f"No replica is available: {problem}.")
    name = lookaside_name(pool.name)
    if lookaside_was_available(pool.status):
        message = f"No replica is available: see kubectl describe deployment {name} -n {pool.namespace}."
        return Condition(kind, False, Reason.LOOKASIDE_UNAVAILABLE, message)
    message = f"The Deployment {name} has no available replica yet."
    return Condition(kind, False, Reason.LOOKASIDE_STARTING, message)


def lookaside_was_available(status: Mapping[str, Any]) -> bool:
    """Whether ``status`` says that a replica was available before."""
    reasons = (Reason.LOOKASIDE_READY, Reason.LOOKASIDE_DEGRADED, Reason.LOOKASIDE_UNAVAILABLE)
    mine = ConditionType.LOOKASIDE_AVAILABLE
    return any(c["type"] == mine and c["reason"] in reasons for c in status.get("conditions") or ())


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

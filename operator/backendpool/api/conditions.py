"""What a pool's status says of it in the words of Kubernetes: a list of conditions. Pure, no clock.

The list follows the API conventions (a map by type, ``observedGeneration``, ``lastTransitionTime`` only on a
change of status) and kstatus, so that ``kubectl wait``, Flux, Argo CD and Helm understand a pool unaided:
``Reconciling`` and ``Stalled`` are true when something is not as it should be, never both at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final


class ConditionType(StrEnum):
    """The conditions of a pool, in the order in which they are listed."""

    READY = "Ready"
    ENDPOINTS_AVAILABLE = "EndpointsAvailable"
    LOOKASIDE_AVAILABLE = "LookasideAvailable"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


class Reason(StrEnum):
    """Why a condition stands as it does: for machines, and for the events that a change of it makes."""

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
        """Somebody may have to do something: a Warning where Kubernetes tells Normal from Warning."""
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
    """One statement about a pool; ``status`` None is ``Unknown``, ``message`` a sentence for a person."""

    type: ConditionType
    status: bool | None
    reason: Reason
    message: str


def merge(
    existing: Sequence[Mapping[str, Any]], conditions: Iterable[Condition], generation: int, now: datetime
) -> list[dict[str, Any]]:
    """The list to write: ours in their fixed order, then whatever others have put there, untouched.

    ``now`` becomes the ``lastTransitionTime`` of those alone whose status is another than in ``existing``.
    """
    before = {item["type"]: item for item in existing}
    ours = sorted(conditions, key=lambda condition: _ORDER[condition.type])
    merged = [_written(condition, before.get(condition.type), generation, now) for condition in ours]
    written = {item["type"] for item in merged}
    return merged + [dict(item) for item in existing if item["type"] not in written]


def transitions(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> tuple[Condition, ...]:
    """What is worth telling of the step from one list to the next, each reason once.

    A condition is told when its status or its reason changed. ``Ready`` repeats the reason of whatever
    holds it back, so it is told only when its status changed, and after the others. In the first list, what
    is only there to say that nothing is wrong is not told.
    """
    before = {item["type"]: item for item in old}
    told: dict[Reason, Condition] = {}
    for item in sorted(new, key=lambda item: item["type"] == ConditionType.READY):
        if item["type"] in _ORDER and _is_news(item, before.get(item["type"])):
            condition = _read(item)
            told.setdefault(condition.reason, condition)
    return tuple(told.values())


_AT_REST: Final = frozenset({Reason.APPLIED, Reason.DISABLED, Reason.NOT_STALLED})
_ORDER: Final = {kind: position for position, kind in enumerate(ConditionType)}
_WORDS: Final[Mapping[bool | None, str]] = {True: "True", False: "False", None: "Unknown"}
_LONGEST_MESSAGE: Final = 32768
"""Characters, as metav1.Condition has it: a refusal that quotes all that it refuses must not cost the whole status."""
_STATUSES: Final = {word: status for status, word in _WORDS.items()}


def _written(condition: Condition, before: Mapping[str, Any] | None, generation: int, now: datetime) -> dict[str, Any]:
    status = _WORDS[condition.status]
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


def _read(item: Mapping[str, Any]) -> Condition:
    return Condition(
        type=ConditionType(item["type"]),
        status=_STATUSES[item["status"]],
        reason=Reason(item["reason"]),
        message=item["message"],
    )


def _is_news(item: Mapping[str, Any], before: Mapping[str, Any] | None) -> bool:
    if before is None:
        return item["reason"] not in _AT_REST
    fields = ("status",) if item["type"] == ConditionType.READY else ("status", "reason")
    return any(item[field] != before[field] for field in fields)

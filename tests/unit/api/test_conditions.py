"""Merging conditions, and which changes become events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from backendpool.api.conditions import Condition, ConditionType, Reason, merge_conditions, transitions
from tests.fakes.crd import crd_schema

NOW = datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)

READY = Condition(ConditionType.READY, True, Reason.POOL_READY, "The pool takes calls.")
NOT_READY = Condition(ConditionType.READY, False, Reason.NO_ENDPOINTS, "No pod can take calls.")
AVAILABLE = Condition(ConditionType.ENDPOINTS_AVAILABLE, True, Reason.ENDPOINTS_READY, "3 endpoints are ready.")
EMPTY = Condition(ConditionType.ENDPOINTS_AVAILABLE, False, Reason.NO_ENDPOINTS, "No pod can take calls.")
DRAINING = Condition(ConditionType.ENDPOINTS_AVAILABLE, False, Reason.ALL_DRAINING, "All are terminating.")
NO_LOOKASIDE = Condition(ConditionType.LOOKASIDE_AVAILABLE, False, Reason.DISABLED, "The pool has no lookaside.")
FINE = Condition(ConditionType.STALLED, False, Reason.NOT_STALLED, "No manual action is needed.")
APPLIED = Condition(ConditionType.RECONCILING, False, Reason.APPLIED, "All stands as its spec asks.")
FAILED = Condition(ConditionType.RECONCILING, True, Reason.APPLY_FAILED, "The quota is used up.")
CONFLICT = Condition(ConditionType.STALLED, True, Reason.CONFLICT, "Rename the Service.")


def written(*conditions: Condition, existing: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    return merge_conditions(existing or [], conditions, generation=1, now=NOW)


def test_condition_is_written_as_the_api_conventions_ask() -> None:
    """Each condition has the six fields of metav1.Condition, with the time in RFC 3339 and UTC."""
    assert written(READY) == [
        {
            "type": "Ready",
            "status": "True",
            "observedGeneration": 1,
            "lastTransitionTime": "2026-01-02T03:04:05Z",
            "reason": "PoolReady",
            "message": "The pool takes calls.",
        }
    ]


def test_message_is_cut_to_what_the_schema_takes() -> None:
    """Messages are cut to the limit of the schema."""
    refused = Condition(ConditionType.RECONCILING, True, Reason.APPLY_FAILED, "x" * 100_000)
    conditions = crd_schema()["status"]["properties"]["conditions"]
    assert len(written(refused)[0]["message"]) == conditions["items"]["properties"]["message"]["maxLength"]


@pytest.mark.parametrize(("status", "word"), [(True, "True"), (False, "False"), (None, "Unknown")])
def test_status_is_one_of_three_words(status: bool | None, word: str) -> None:
    """A status is True, False or Unknown."""
    condition = Condition(ConditionType.READY, status, Reason.APPLYING, "")
    assert written(condition)[0]["status"] == word


def test_time_stands_while_the_status_does() -> None:
    """A new reason, message or generation keeps the transition time."""
    first = written(EMPTY)
    second = merge_conditions(first, [DRAINING], generation=2, now=LATER)
    assert second[0]["lastTransitionTime"] == first[0]["lastTransitionTime"]
    assert (second[0]["reason"], second[0]["observedGeneration"]) == ("AllDraining", 2)


def test_time_moves_with_the_status() -> None:
    """A change of status sets the transition time of that condition."""
    second = merge_conditions(written(EMPTY, FINE), [AVAILABLE, FINE], generation=1, now=LATER)
    assert [item["lastTransitionTime"] for item in second] == ["2026-01-02T04:04:05Z", "2026-01-02T03:04:05Z"]


def test_time_is_written_in_utc() -> None:
    """Times are converted to UTC."""
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5)))
    assert merge_conditions([], [READY], generation=1, now=elsewhere) == written(READY)


def test_merge_changes_nothing_where_nothing_changed() -> None:
    """Merging unchanged conditions gives an equal list at any time."""
    first = written(READY, AVAILABLE, FINE)
    assert merge_conditions(first, [READY, AVAILABLE, FINE], generation=1, now=LATER) == first


def test_order_is_fixed() -> None:
    """The order of conditions does not depend on the input."""
    assert written(FINE, AVAILABLE, READY) == written(READY, AVAILABLE, FINE)
    assert [item["type"] for item in written(FINE, AVAILABLE, READY)] == ["Ready", "EndpointsAvailable", "Stalled"]


def test_conditions_of_others_are_kept() -> None:
    """Conditions of other controllers are kept, after ours."""
    foreign = {"type": "example.com/Audited", "status": "True", "reason": "Yes", "message": ""}
    assert written(READY, existing=[foreign]) == [*written(READY), foreign]


def test_arguments_are_left_as_they_were() -> None:
    """Merging does not modify its arguments."""
    existing = written(EMPTY)
    merge_conditions(existing, [AVAILABLE], generation=2, now=LATER)
    assert existing == written(EMPTY)


def test_first_list_tells_what_is_not_at_rest() -> None:
    """A first status posts events, except for conditions that are normal or disabled."""
    assert transitions([], written(NOT_READY, EMPTY, NO_LOOKASIDE, APPLIED, FINE)) == (EMPTY,)


def test_equal_lists_are_no_news() -> None:
    """Unchanged conditions post no event."""
    same = written(READY, AVAILABLE, FINE)
    assert transitions(same, same) == ()


def test_change_of_reason_is_news() -> None:
    """A new reason posts an event even if the status stays the same."""
    assert transitions(written(DRAINING), written(EMPTY)) == (EMPTY,)


def test_change_of_message_is_no_news() -> None:
    """A new message alone posts no event."""
    more = Condition(AVAILABLE.type, True, AVAILABLE.reason, "4 endpoints are ready.")
    assert transitions(written(AVAILABLE), written(more)) == ()


def test_reason_is_told_once() -> None:
    """A reason that Ready repeats is posted once."""
    assert transitions(written(READY, AVAILABLE), written(NOT_READY, EMPTY)) == (EMPTY,)


def test_ready_is_told_when_it_turns() -> None:
    """Becoming Ready posts an event, after those of its causes."""
    assert transitions(written(NOT_READY, EMPTY), written(READY, AVAILABLE)) == (AVAILABLE, READY)


def test_ready_that_is_held_back_by_something_else_is_no_news() -> None:
    """While a pool is not Ready, a new cause posts its own event only."""
    held_back = Condition(ConditionType.READY, False, Reason.LOOKASIDE_UNAVAILABLE, "No replica is available.")
    assert transitions(written(NOT_READY), written(held_back)) == ()


def test_end_of_a_trouble_is_news() -> None:
    """The end of a failure or a conflict posts an event."""
    assert transitions(written(FAILED), written(APPLIED)) == (APPLIED,)
    assert transitions(written(FINE), written(CONFLICT)) == (CONFLICT,)
    assert transitions(written(CONFLICT), written(FINE)) == (FINE,)


def test_conditions_of_others_are_no_news_of_ours() -> None:
    """Conditions of other controllers post no event."""
    foreign = {"type": "example.com/Audited", "status": "True", "reason": "Yes", "message": ""}
    assert transitions([], [foreign]) == ()


@pytest.mark.parametrize(
    ("condition", "warning"), [(CONFLICT, True), (EMPTY, True), (AVAILABLE, False), (FINE, False), (READY, False)]
)
def test_warnings_are_what_somebody_may_have_to_act_on(condition: Condition, warning: bool) -> None:
    """Reasons that may need manual action are Warning events."""
    assert condition.reason.is_warning is warning

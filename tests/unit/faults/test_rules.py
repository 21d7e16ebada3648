"""The fault proxy's rules: who is met, at which point, and how often."""

from __future__ import annotations

import pytest

from tests.e2e.faults.rules import Action, Point, Rule, Script

PODS = ("GET", "/api/v1/pods", False)
WATCH = ("GET", "/api/v1/pods", True)


def test_rule_without_conditions_matches_all() -> None:
    """Whatever the method and the path, watch or not."""
    rule = Rule(Action.CUT)
    assert rule.matches(Point.REQUEST, *PODS)
    assert rule.matches(Point.REQUEST, "PUT", "/apis/x/status", False)
    assert rule.matches(Point.REQUEST, *WATCH)


@pytest.mark.parametrize(
    "rule",
    [
        Rule(Action.CUT, method="PUT"),
        Rule(Action.CUT, path="/status$"),
        Rule(Action.CUT, watch=True),
        Rule(Action.CUT, at=Point.EVENT),
    ],
)
def test_each_condition_excludes(rule: Rule) -> None:
    """One condition that does not hold is enough."""
    assert not rule.matches(Point.REQUEST, *PODS)


def test_path_is_searched_as_a_regular_expression() -> None:
    """A part of the path is enough to name a kind."""
    assert Rule(Action.CUT, path="pods|nodes").matches(Point.REQUEST, *PODS)


def test_count_is_used_up() -> None:
    """A rule of count 2 is used twice, and then the next one is."""
    script = Script([Rule(Action.CUT, count=2), Rule(Action.STALL)])
    taken = [script.take(Point.REQUEST, *PODS) for _ in range(3)]
    assert [rule and rule.action for rule in taken] == [Action.CUT, Action.CUT, Action.STALL]
    assert script.used == (2, 1)


def test_no_rule_is_taken_where_none_matches() -> None:
    """What matches nothing is passed on, and counted nowhere."""
    script = Script([Rule(Action.CUT, watch=True)])
    assert script.take(Point.REQUEST, *PODS) is None
    assert script.used == (0,)


def test_rules_travel_as_json() -> None:
    """A rule is read back as it was written."""
    rule = Rule(Action.REFUSE, Point.EVENT, "GET", "x", True, 3, 410, 2, 0.5)
    assert Rule.from_json(rule.as_json()) == rule


@pytest.mark.parametrize(("action", "at"), [(Action.TRUNCATE, Point.REQUEST), (Action.CLOSE, Point.EVENT)])
def test_what_cannot_be_done_is_refused(action: Action, at: Point) -> None:
    """A request has no line to truncate, and an event no time to live."""
    with pytest.raises(ValueError, match="not possible"):
        Rule(action, at)

"""The rules of the fault proxy: whom they match, when, and how often."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tools.fault_proxy.rules import Action, Asked, Point, Rule, Script

MINE = "backendpool/0.1.0 lookaside (mine)"
PODS = Asked(Point.REQUEST, "GET", "/api/v1/pods", watch=False, agent=MINE)


@pytest.mark.parametrize(
    "asked", [PODS, replace(PODS, method="PUT"), replace(PODS, path="/apis/x/status"), replace(PODS, watch=True)]
)
def test_rule_without_conditions_matches_all(asked: Asked) -> None:
    """A rule without conditions matches everything."""
    assert Rule(Action.CUT).matches(asked)
    assert Rule(Action.CUT).matches(replace(asked, agent=""))


@pytest.mark.parametrize(
    "rule",
    [
        Rule(Action.CUT, method="PUT"),
        Rule(Action.CUT, path="/status$"),
        Rule(Action.CUT, agent="operator|gateway"),
        Rule(Action.CUT, watch=True),
        Rule(Action.CUT, at=Point.EVENT),
    ],
)
def test_each_condition_excludes(rule: Rule) -> None:
    """A rule does not match if one condition does not hold."""
    assert not rule.matches(PODS)


def test_path_and_agent_are_searched_as_regular_expressions() -> None:
    """Path and User-Agent are searched as regular expressions."""
    assert Rule(Action.CUT, path="pods|nodes", agent="gateway|lookaside").matches(PODS)


def test_count_is_used_up() -> None:
    """A rule with count 2 applies twice, then the next rule does."""
    script = Script([Rule(Action.CUT, count=2), Rule(Action.STALL)])
    taken = [script.take(PODS) for _ in range(3)]
    assert [rule and rule.action for rule in taken] == [Action.CUT, Action.CUT, Action.STALL]
    assert script.used == ({MINE: 2}, {MINE: 1})


def test_nobody_uses_up_the_count_of_another() -> None:
    """The count applies to each caller separately."""
    script, other = Script([Rule(Action.CUT, count=1)]), replace(PODS, agent="another")
    assert [bool(script.take(asked)) for asked in (PODS, other, PODS, other)] == [True, True, False, False]
    assert script.used == ({MINE: 1, "another": 1},)


def test_no_rule_is_taken_where_none_matches() -> None:
    """A request without a matching rule is forwarded and not counted."""
    script = Script([Rule(Action.CUT, watch=True)])
    assert script.take(PODS) is None
    assert script.used == ({},)


def test_rules_travel_as_json() -> None:
    """A rule survives encoding as JSON."""
    rule = Rule(Action.REFUSE, Point.EVENT, "GET", "x", "y", True, 3, 410, 2, 0.5)
    assert Rule.from_json(rule.as_json()) == rule


@pytest.mark.parametrize(("action", "at"), [(Action.TRUNCATE, Point.REQUEST), (Action.CLOSE, Point.EVENT)])
def test_what_cannot_be_done_is_refused(action: Action, at: Point) -> None:
    """A rule whose action is impossible at its point is an error."""
    with pytest.raises(ValueError, match="cannot be used"):
        Rule(action, at)

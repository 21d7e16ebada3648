"""The fault proxy's rules: who is met, at which point, and how often."""

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
    """Whatever the method and the path, watch or not, and whoever asks."""
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
    """One condition that does not hold is enough."""
    assert not rule.matches(PODS)


def test_path_and_agent_are_searched_as_regular_expressions() -> None:
    """A part of the path is enough to name a kind, and one of the User-Agent to name a program."""
    assert Rule(Action.CUT, path="pods|nodes", agent="gateway|lookaside").matches(PODS)


def test_count_is_used_up() -> None:
    """A rule of count 2 is used twice, and then the next one is."""
    script = Script([Rule(Action.CUT, count=2), Rule(Action.STALL)])
    taken = [script.take(PODS) for _ in range(3)]
    assert [rule and rule.action for rule in taken] == [Action.CUT, Action.CUT, Action.STALL]
    assert script.used == ({MINE: 2}, {MINE: 1})


def test_nobody_uses_up_the_count_of_another() -> None:
    """Each caller meets a rule as often as it says, however many met it before."""
    script, other = Script([Rule(Action.CUT, count=1)]), replace(PODS, agent="another")
    assert [bool(script.take(asked)) for asked in (PODS, other, PODS, other)] == [True, True, False, False]
    assert script.used == ({MINE: 1, "another": 1},)


def test_no_rule_is_taken_where_none_matches() -> None:
    """What matches nothing is passed on, and counted nowhere."""
    script = Script([Rule(Action.CUT, watch=True)])
    assert script.take(PODS) is None
    assert script.used == ({},)


def test_rules_travel_as_json() -> None:
    """A rule is read back as it was written."""
    rule = Rule(Action.REFUSE, Point.EVENT, "GET", "x", "y", True, 3, 410, 2, 0.5)
    assert Rule.from_json(rule.as_json()) == rule


@pytest.mark.parametrize(("action", "at"), [(Action.TRUNCATE, Point.REQUEST), (Action.CLOSE, Point.EVENT)])
def test_what_cannot_be_done_is_refused(action: Action, at: Point) -> None:
    """A request has no line to truncate, and an event no time to live."""
    with pytest.raises(ValueError, match="not possible"):
        Rule(action, at)

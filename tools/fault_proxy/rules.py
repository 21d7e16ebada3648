"""What the fault proxy is to do to whom: rules, and how often each is still to be used. Pure.

A rule is asked for at one of two points: when a request comes, and when an event of an open watch is about to be
passed on. So a fault also reaches watches that were opened before the rule was made, as those of real networks do.

Callers are told apart by their User-Agent, which names program and process.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Action(StrEnum):
    """What is done instead of passing on."""

    REFUSE = "refuse"
    """Answer with ``status``; within a watch, by an ERROR event."""
    CUT = "cut"
    """Reset the connection."""
    STALL = "stall"
    """Say nothing any more, and keep the connection open."""
    DELAY = "delay"
    """Pass on after ``seconds``."""
    CLOSE = "close"
    """Pass on, and end the answer ``seconds`` later, in good order."""
    TRUNCATE = "truncate"
    """Half of the event's line, then the end of the answer."""


class Point(StrEnum):
    """When a rule is asked for."""

    REQUEST = "request"
    EVENT = "event"


@dataclass(frozen=True)
class Asked:
    """What is about to be passed on: a request, or an event of the watch that it is."""

    at: Point
    method: str
    path: str
    watch: bool
    agent: str


_NEVER = {(Point.REQUEST, Action.TRUNCATE), (Point.EVENT, Action.CLOSE)}


@dataclass(frozen=True)
class Rule:
    """An ``action`` on requests, or events of watches, that match; the first ``count`` of each caller's (None: all).

    ``path`` and ``agent`` are regular expressions to be found in the URL's path and in the User-Agent; what is empty
    is any. ``watch``: only watches (true), or only what is none (false). ``status`` and ``retry_after`` (seconds)
    belong to REFUSE, ``seconds`` to DELAY and CLOSE.
    """

    action: Action
    at: Point = Point.REQUEST
    method: str = ""
    path: str = ""
    agent: str = ""
    watch: bool | None = None
    count: int | None = None
    status: int = 503
    retry_after: int | None = None
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if (self.at, self.action) in _NEVER:
            raise ValueError(f"{self.action.value} is not possible at a {self.at.value}")

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Rule:
        """The rule that :meth:`as_json` wrote; raises ValueError or TypeError for anything else."""
        known = dict(fields)
        return cls(Action(known.pop("action")), Point(known.pop("at", Point.REQUEST)), **known)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def matches(self, asked: Asked) -> bool:
        return (
            self.at is asked.at
            and self.method in ("", asked.method)
            and self.watch in (None, asked.watch)
            and re.search(self.path, asked.path) is not None
            and re.search(self.agent, asked.agent) is not None
        )


class Script:
    """The rules in force, in order, and how often each was used on whom."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._rules = tuple(rules)
        self._used = tuple(Counter[str]() for _ in self._rules)

    @property
    def used(self) -> tuple[Mapping[str, int], ...]:
        """How often each rule was used, by User-Agent: what shows that a fault took place."""
        return self._used

    def take(self, asked: Asked) -> Rule | None:
        """The first rule that matches and is not used up by this caller, now used once more."""
        for rule, used in zip(self._rules, self._used, strict=True):
            if rule.matches(asked) and (rule.count is None or used[asked.agent] < rule.count):
                used[asked.agent] += 1
                return rule
        return None

"""The rules of the fault proxy: what happens to whom, and how often. Pure.

Rules are checked at two points: when a request arrives, and before an event of an open watch is forwarded. So a fault
also affects watches that were opened before the rule, like faults of real networks.

Callers are identified by their User-Agent, which names program and process.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Action(StrEnum):
    """What happens instead of forwarding."""

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
    """The moment at which a rule is checked."""

    REQUEST = "request"
    EVENT = "event"


@dataclass(frozen=True)
class Asked:
    """What is about to be forwarded: a request, or an event of its watch."""

    at: Point
    method: str
    path: str
    watch: bool
    agent: str


_NEVER = {(Point.REQUEST, Action.TRUNCATE), (Point.EVENT, Action.CLOSE)}


@dataclass(frozen=True)
class Rule:
    """An ``action`` for matching requests or watch events: the first ``count`` of each caller (None: all)."""

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
            raise ValueError(f"{self.action.value} cannot be used at a {self.at.value}")

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Rule:
        """Parse the output of :meth:`as_json`; raises ValueError or TypeError for anything else."""
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
    """The current rules in order, and how often each caller triggered them."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._rules = tuple(rules)
        self._used = tuple(Counter[str]() for _ in self._rules)

    @property
    def used(self) -> tuple[Mapping[str, int], ...]:
        """Return how often each rule was used, by User-Agent, to show that a fault took place."""
        return self._used

    def take(self, asked: Asked) -> Rule | None:
        """Return the first rule that matches and is not used up by this caller, and count its use."""
        for rule, used in zip(self._rules, self._used, strict=True):
            if rule.matches(asked) and (rule.count is None or used[asked.agent] < rule.count):
                used[asked.agent] += 1
                return rule
        return None

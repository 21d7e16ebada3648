"""What the fault proxy is to do to whom: rules, and how often each is still to be used. Pure.

A rule is asked for at one of two points: when a request comes, and when an event of an open watch is about to be
passed on. So a fault also reaches watches that were opened before the rule was made, as those of real networks do.
"""

from __future__ import annotations

import re
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


_NEVER = {(Point.REQUEST, Action.TRUNCATE), (Point.EVENT, Action.CLOSE)}


@dataclass(frozen=True)
class Rule:
    """An ``action`` on requests, or events of watches, that match; the first ``count`` of them (None: all).

    ``path`` is a regular expression to be found in the URL's path; an empty ``method`` or ``path`` is any.
    ``watch``: only watches (true), or only what is none (false). ``status`` and ``retry_after`` (seconds) belong
    to REFUSE, ``seconds`` to DELAY and CLOSE.
    """

    action: Action
    at: Point = Point.REQUEST
    method: str = ""
    path: str = ""
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

    def matches(self, at: Point, method: str, path: str, watch: bool) -> bool:
        return (
            self.at is at
            and self.method in ("", method)
            and self.watch in (None, watch)
            and re.search(self.path, path) is not None
        )


class Script:
    """The rules in force, in order, and how often each was used."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._rules = tuple(rules)
        self._used = [0] * len(self._rules)

    @property
    def used(self) -> tuple[int, ...]:
        """How often each rule was used: what shows that a fault took place."""
        return tuple(self._used)

    def take(self, at: Point, method: str, path: str, watch: bool) -> Rule | None:
        """The first rule that matches and is not used up, now used once more."""
        for number, rule in enumerate(self._rules):
            if rule.matches(at, method, path, watch) and (rule.count is None or self._used[number] < rule.count):
                self._used[number] += 1
                return rule
        return None

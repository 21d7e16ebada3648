"""Costs that are compared: in short rounds by turns, so that whatever else the machine does meets all alike."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

Work = Callable[[int], Awaitable[object]]
"""Does something as often as it is told."""

Clock = Callable[[], float]
"""Seconds of CPU so far."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of CPU for each time, by rounds."""

    rounds: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    def over(self, base: Cost) -> Ratio:
        """How it compares with ``base``, measured in the same rounds."""
        pairs = [mine / least for mine, least in zip(self.rounds, base.rounds, strict=True)]
        return Ratio(*(statistics.quantiles(pairs, method="inclusive") if len(pairs) > 1 else pairs * 3))


@dataclass(frozen=True, slots=True)
class Ratio:
    """Of two costs, by rounds, so that a machine that gets slower or faster meanwhile is in both.

    The ``median``, and what half of the rounds are between.
    """

    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True)
class Contestant:
    """What does ``work``, and the clock of the process that pays for it."""

    work: Work
    clock: Clock


async def compare(contestants: Mapping[str, Contestant], rounds: int, times: int) -> dict[str, Cost]:
    """What each costs; a round is ``times`` times. The order turns around, for one may leave work to the next."""
    found: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for number in range(-1, rounds):
        for name in names if number % 2 else reversed(names):
            contestant = contestants[name]
            begun = contestant.clock()
            await contestant.work(times)
            if number >= 0:  # the one before warms up
                found[name].append((contestant.clock() - begun) / times)
    return {name: Cost(costs) for name, costs in found.items()}

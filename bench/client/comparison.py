"""Comparison of CPU times in short alternating rounds, so that other load on the machine affects all variants alike."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

Work = Callable[[int], Awaitable[object]]
"""Does something the given number of times."""

Clock = Callable[[], float]
"""CPU seconds used so far."""


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds per repetition, one value per round."""

    rounds: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    def over(self, base: Cost) -> Ratio:
        """Return the ratio to ``base``, which was measured in the same rounds."""
        pairs = [mine / least for mine, least in zip(self.rounds, base.rounds, strict=True)]
        return Ratio(*(statistics.quantiles(pairs, method="inclusive") if len(pairs) > 1 else pairs * 3))


@dataclass(frozen=True, slots=True)
class Ratio:
    """The ratio of two costs, computed per round so that changes of the machine's speed cancel out.

    ``low`` and ``high`` are the quartiles.
    """

    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant: ``work`` to measure, and the CPU clock of the process that does it."""

    work: Work
    clock: Clock


async def compare(candidates: Mapping[str, Candidate], rounds: int, times: int) -> dict[str, Cost]:
    """Measure each candidate ``times`` times per round. The order alternates, since one candidate may leave work to the
    next.
    """
    found: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    for number in range(-1, rounds):
        for name in names if number % 2 else reversed(names):
            candidate = candidates[name]
            begun = candidate.clock()
            await candidate.work(times)
            if number >= 0:  # the one before warms up
                found[name].append((candidate.clock() - begun) / times)
    return {name: Cost(costs) for name, costs in found.items()}

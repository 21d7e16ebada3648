"""A backend that has just started gets its share little by little."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SlowStart:
    """How fast, as Envoy's slow start and gRFC A100 have it.

    ``window`` is in seconds, 0 for none. The share rises by the power of 1/``aggression``: 1 is a straight line, above
    it the rise is quicker at first, below it slower. ``least`` is the part that is never gone below.
    """

    window: float = 0.0
    aggression: float = 1.0
    least: float = 0.1

    def ramp(self, age: float) -> float:
        """The part of its weight, in (0, 1], that a backend gets which has been ready for ``age`` seconds.

        The first second counts in full, so that there is something to take the power of.
        """
        if age >= self.window:
            return 1.0
        passed = min(1.0, max(age, 1.0) / self.window)
        return float(max(self.least, passed ** (1 / self.aggression)))

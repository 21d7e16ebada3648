"""Slow start: a newly connected backend ramps up to its share (gRFC A100)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SlowStart:
    """Parameters of slow start, as in Envoy and gRFC A100.

    ``window`` is in seconds, 0 for none. The share rises with the power of 1/``aggression``: linear for 1, faster at
    first above that, slower below. ``least`` is the minimum part of the share.
    """

    window: float = 0.0
    aggression: float = 1.0
    least: float = 0.1

    def ramp(self, age: float) -> float:
        """Return the part of its weight, in (0, 1], of a backend that has been connected for ``age`` seconds.

        The first second counts in full, so that the base of the power is not 0.
        """
        if age >= self.window:
            return 1.0
        passed = min(1.0, max(age, 1.0) / self.window)
        return float(max(self.least, passed ** (1 / self.aggression)))

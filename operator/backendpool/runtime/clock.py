"""The clock by which the operator, the lookaside and the client measure how long ago something was."""

from __future__ import annotations

import time

_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux stops its monotonic clock in a suspended machine: a Lease would seem to hold, and a view to be current."""


def since_boot() -> float:
    """Seconds, of which only differences mean anything. Nobody sets it, and it goes on in a suspended machine."""
    return time.clock_gettime(_CLOCK)

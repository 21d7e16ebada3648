"""The clock of all ages and leases."""

from __future__ import annotations

import time

_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux stops its monotonic clock while the machine is suspended, so that an expired Lease would seem valid."""


def since_boot() -> float:
    """Return seconds since an arbitrary point in time, including those in which the machine was suspended."""
    return time.clock_gettime(_CLOCK)

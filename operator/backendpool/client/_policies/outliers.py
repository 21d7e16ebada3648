"""Outlier detection (gRFC A50): eject backends that fail more calls than others for a while.

Where the gRFC is ambiguous, this follows gRPC's C-core: the cap is checked before each ejection, so that the first one
is always allowed, and an ejected backend is not ejected again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import mean, pstdev
from typing import Final, TypeVar

from backendpool.api.load_balancing import FailurePercentage, OutlierDetection, SuccessRate
from backendpool.client._policies.candidate import Candidate, Identity, RandomSource

K = TypeVar("K")
C = TypeVar("C", bound=Candidate)

PANIC_PERCENT: Final = 50
"""Envoy's panic threshold: with fewer percent left, ejections are ignored, to protect those that are left."""


@dataclass(slots=True)
class Stats:
    """One backend: the outcomes of its calls since the last sweep, and its ejection.

    ``ejected_at`` is the time of the sweep that ejected it, or None. ``multiplier`` scales the duration of ejections:
    it grows with each ejection, and falls with each sweep that does not find the backend ejected.
    """

    successes: int = 0
    failures: int = 0
    ejected_at: float | None = None
    multiplier: int = 0

    @property
    def volume(self) -> int:
        return self.successes + self.failures

    @property
    def ejected(self) -> bool:
        return self.ejected_at is not None


def sweep(
    now: float, stats: Mapping[K, Stats], settings: OutlierDetection, source: RandomSource = random
) -> dict[K, Stats]:
    """Return new stats, with ejections begun and ended at ``now`` (in seconds) and all outcomes reset to 0.

    Call it every ``settings.interval`` seconds with exactly the backends of the pool.
    """
    swept = {key: Stats(ejected_at=found.ejected_at, multiplier=found.multiplier) for key, found in stats.items()}
    if settings.success_rate is not None:
        _eject(now, swept, _by_success_rate(stats, settings.success_rate, source), settings.max_ejection_percent)
    if settings.failure_percentage is not None:
        _eject(now, swept, _by_failures(stats, settings.failure_percentage, source), settings.max_ejection_percent)
    for found in swept.values():
        _update_ejection(now, found, settings)
    return swept


def usable(connected: tuple[C, ...], stats: Mapping[Identity, Stats], total: int) -> tuple[C, ...]:
    """Return ``connected`` without ejected backends; all of them if too few of ``total`` would be left (panic)."""
    ejected = {key for key, found in stats.items() if found.ejected}
    left = tuple(item for item in connected if item.identity not in ejected) if ejected else connected
    return left if len(left) * 100 >= total * PANIC_PERCENT else connected


def _by_success_rate(stats: Mapping[K, Stats], settings: SuccessRate, source: RandomSource) -> Iterator[K]:
    """Yield the outliers of A50's success rate algorithm."""
    called = {key: found for key, found in stats.items() if found.volume >= settings.request_volume}
    if len(called) < settings.minimum_hosts:
        return
    rates = {key: found.successes / found.volume for key, found in called.items()}
    # Not fmean: with its rounding, all of several equal rates can be below their mean.
    average = mean(rates.values())
    threshold = average - pstdev(rates.values(), average) * settings.stdev_factor / 1000
    for key, rate in rates.items():
        if rate < threshold and _enforced(settings.enforcement_percent, source):
            yield key


def _by_failures(stats: Mapping[K, Stats], settings: FailurePercentage, source: RandomSource) -> Iterator[K]:
    """Yield the outliers of A50's failure percentage algorithm."""
    if len(stats) < settings.minimum_hosts:
        return
    for key, found in stats.items():
        fails = found.failures * 100 > settings.threshold * found.volume
        if fails and found.volume >= settings.request_volume and _enforced(settings.enforcement_percent, source):
            yield key


def _enforced(percent: int, source: RandomSource) -> bool:
    return source.randrange(100) < percent


def _eject(now: float, swept: Mapping[K, Stats], outliers: Iterator[K], most_percent: int) -> None:
    """Eject ``outliers``, up to the cap."""
    ejected = sum(found.ejected for found in swept.values())
    for key in outliers:
        if ejected and ejected * 100 >= most_percent * len(swept):
            return
        found = swept[key]
        if not found.ejected:
            found.ejected_at, found.multiplier = now, found.multiplier + 1
            ejected += 1


def _update_ejection(now: float, found: Stats, settings: OutlierDetection) -> None:
    """End the ejection when its time is over; each sweep without one decrements the multiplier (gRFC A50)."""
    if found.ejected_at is None:
        found.multiplier = max(0, found.multiplier - 1)
        return
    longest = max(settings.base_ejection, settings.max_ejection)
    if now > found.ejected_at + min(settings.base_ejection * found.multiplier, longest):
        found.ejected_at = None

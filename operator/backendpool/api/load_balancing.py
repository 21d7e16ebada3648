"""How a pool's clients shall spread their calls, as its author wrote it. Pure, no I/O.

Numbers are as the schema has them: whole, durations in seconds, parts of a hundred in percent. The defaults of outlier
detection are those of gRFC A50.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from backendpool.api.validation import choice, integer, mapping
from backendpool.errors import SpecError

MAX_SECONDS: Final = 86_400


class Policy(StrEnum):
    """Which backend the next call goes to."""

    ROUND_ROBIN = "RoundRobin"
    RANDOM = "Random"
    LEAST_REQUEST = "LeastRequest"
    WEIGHTED_ROUND_ROBIN = "WeightedRoundRobin"
    CONSISTENT_HASH = "ConsistentHash"


class EmptyPolicy(StrEnum):
    """What a client does when no endpoint is left."""

    FAIL = "Fail"
    """Fail calls at once."""
    KEEP_LAST = "KeepLast"
    """Go on with the last endpoints that were known."""


class Preference(StrEnum):
    """Which backends a client calls as long as one of them takes calls."""

    ZONE = "Zone"
    """Those of its own zone."""


@dataclass(frozen=True, slots=True)
class SuccessRate:
    """Eject a backend whose rate of success is that many thousandths of a standard deviation below the mean."""

    stdev_factor: int = 1900
    enforcement_percent: int = 100
    minimum_hosts: int = 5
    request_volume: int = 100


@dataclass(frozen=True, slots=True)
class FailurePercentage:
    """Eject a backend of whose calls that many percent fail."""

    threshold: int = 85
    enforcement_percent: int = 100
    minimum_hosts: int = 5
    request_volume: int = 50


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """Backends that fail more than others get no calls for a while (gRFC A50); durations in seconds."""

    interval: int = 10
    base_ejection: int = 30
    max_ejection: int = 300
    max_ejection_percent: int = 10
    success_rate: SuccessRate | None = None
    failure_percentage: FailurePercentage | None = None


@dataclass(frozen=True, slots=True)
class Balancing:
    """What a client does with the endpoints of a pool.

    ``hash_header`` names the metadata key by whose value :attr:`Policy.CONSISTENT_HASH` chooses, and is empty for all
    other policies.
    """

    policy: Policy = Policy.ROUND_ROBIN
    empty_policy: EmptyPolicy = EmptyPolicy.FAIL
    hash_header: str = ""
    outliers: OutlierDetection | None = None
    prefer: Preference | None = None


DEFAULT: Final = Balancing()


def parse_balancing(spec: Mapping[str, Any]) -> Balancing:
    """Read what of ``spec`` is about calls; raises :class:`SpecError` with the field where it cannot be acted on."""
    policy = choice(Policy, "spec.policy", spec.get("policy", Policy.ROUND_ROBIN))
    locality = mapping("spec.locality", spec.get("locality"))
    return Balancing(
        policy=policy,
        empty_policy=choice(EmptyPolicy, "spec.emptyPolicy", spec.get("emptyPolicy", EmptyPolicy.FAIL)),
        hash_header=_hash_header(spec.get("consistentHash")) if policy is Policy.CONSISTENT_HASH else "",
        outliers=_outliers(spec.get("outlierDetection")),
        prefer=choice(Preference, "spec.locality.prefer", locality["prefer"]) if "prefer" in locality else None,
    )


def _hash_header(value: object) -> str:
    header = mapping("spec.consistentHash", value).get("header")
    if not isinstance(header, str) or not header:
        raise SpecError("spec.consistentHash.header", "name the metadata key by whose value backends are chosen")
    return header


def _outliers(value: object) -> OutlierDetection | None:
    if value is None:
        return None
    path, default = "spec.outlierDetection", OutlierDetection()
    fields = mapping(path, value)
    rate, percentage = fields.get("successRate"), fields.get("failurePercentage")
    return OutlierDetection(
        interval=integer(path, fields, "intervalSeconds", default.interval, 1, MAX_SECONDS),
        base_ejection=integer(path, fields, "baseEjectionSeconds", default.base_ejection, 1, MAX_SECONDS),
        max_ejection=integer(path, fields, "maxEjectionSeconds", default.max_ejection, 1, MAX_SECONDS),
        max_ejection_percent=integer(path, fields, "maxEjectionPercent", default.max_ejection_percent, 0, 100),
        success_rate=None if rate is None else _success_rate(rate),
        failure_percentage=None if percentage is None else _failure_percentage(percentage),
    )


def _success_rate(value: object) -> SuccessRate:
    path, default = "spec.outlierDetection.successRate", SuccessRate()
    fields = mapping(path, value)
    return SuccessRate(
        stdev_factor=integer(path, fields, "stdevFactor", default.stdev_factor, 1, 10_000),
        enforcement_percent=integer(path, fields, "enforcementPercent", default.enforcement_percent, 0, 100),
        minimum_hosts=integer(path, fields, "minimumHosts", default.minimum_hosts, 1, 10_000),
        request_volume=integer(path, fields, "requestVolume", default.request_volume, 1, 1_000_000),
    )


def _failure_percentage(value: object) -> FailurePercentage:
    path, default = "spec.outlierDetection.failurePercentage", FailurePercentage()
    fields = mapping(path, value)
    return FailurePercentage(
        threshold=integer(path, fields, "threshold", default.threshold, 1, 100),
        enforcement_percent=integer(path, fields, "enforcementPercent", default.enforcement_percent, 0, 100),
        minimum_hosts=integer(path, fields, "minimumHosts", default.minimum_hosts, 1, 10_000),
        request_volume=integer(path, fields, "requestVolume", default.request_volume, 1, 1_000_000),
    )

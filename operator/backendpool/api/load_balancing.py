"""The load balancing part of a pool's spec: policy, outlier detection, locality. Pure.

As in the CRD, numbers are integers, durations are in seconds and ratios in percent.

The dataclasses of outlier detection are its field table: each field has its name in the spec, its range and its default
(gRFC A50). Parsing and printing use this table. The messages of ``backendpool.v1`` have the same names in JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Final, TypeVar, cast

from backendpool.api.validation import choice, integer, mapping
from backendpool.errors import SpecError

MAX_SECONDS: Final = 86_400

T = TypeVar("T")


class Policy(StrEnum):
    """How the backend of a call is picked."""

    ROUND_ROBIN = "RoundRobin"
    RANDOM = "Random"
    LEAST_REQUEST = "LeastRequest"
    WEIGHTED_ROUND_ROBIN = "WeightedRoundRobin"
    CONSISTENT_HASH = "ConsistentHash"


class EmptyPolicy(StrEnum):
    """What clients do when a pool has no endpoint."""

    FAIL = "Fail"
    """Fail calls at once."""
    KEEP_LAST = "KeepLast"
    """Keep calling the last known endpoints."""


class Preference(StrEnum):
    """Which backends a client prefers."""

    ZONE = "Zone"
    """Backends in its own zone."""


def _number(name: str, default: int, low: int, high: int) -> Any:
    """Return a dataclass field for the spec's integer field ``name``, which must be between ``low`` and ``high``."""
    return field(default=default, metadata={"name": name, "range": (low, high)})


@dataclass(frozen=True, slots=True)
class SuccessRate:
    """Ejects backends whose success rate is ``stdev_factor`` thousandths of a standard deviation below the mean."""

    stdev_factor: int = _number("stdevFactor", 1900, 1, 10_000)
    enforcement_percent: int = _number("enforcementPercent", 100, 0, 100)
    minimum_hosts: int = _number("minimumHosts", 5, 1, 10_000)
    request_volume: int = _number("requestVolume", 100, 1, 1_000_000)


@dataclass(frozen=True, slots=True)
class FailurePercentage:
    """Ejects backends that fail more than ``threshold`` percent of their calls."""

    threshold: int = _number("threshold", 85, 1, 100)
    enforcement_percent: int = _number("enforcementPercent", 100, 0, 100)
    minimum_hosts: int = _number("minimumHosts", 5, 1, 10_000)
    request_volume: int = _number("requestVolume", 50, 1, 1_000_000)


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """Ejects backends that fail more calls than others for a while (gRFC A50). Durations are in seconds."""

    interval: int = _number("intervalSeconds", 10, 1, MAX_SECONDS)
    base_ejection: int = _number("baseEjectionSeconds", 30, 1, MAX_SECONDS)
    max_ejection: int = _number("maxEjectionSeconds", 300, 1, MAX_SECONDS)
    max_ejection_percent: int = _number("maxEjectionPercent", 10, 0, 100)
    success_rate: SuccessRate | None = field(default=None, metadata={"name": "successRate", "kind": SuccessRate})
    failure_percentage: FailurePercentage | None = field(
        default=None, metadata={"name": "failurePercentage", "kind": FailurePercentage}
    )


@dataclass(frozen=True, slots=True)
class LoadBalancing:
    """How clients spread calls over the endpoints of a pool.

    ``hash_header`` is the metadata key for :attr:`Policy.CONSISTENT_HASH`; empty for all other policies.
    """

    policy: Policy = Policy.ROUND_ROBIN
    empty_policy: EmptyPolicy = EmptyPolicy.FAIL
    hash_header: str = ""
    outliers: OutlierDetection | None = None
    prefer: Preference | None = None


DEFAULT: Final = LoadBalancing()


def parse_load_balancing(spec: Mapping[str, Any]) -> LoadBalancing:
    """Read the load balancing part of ``spec``; raises :class:`SpecError` with the invalid field."""
    policy = choice(Policy, "spec.policy", spec.get("policy", Policy.ROUND_ROBIN))
    locality = mapping("spec.locality", spec.get("locality"))
    return LoadBalancing(
        policy=policy,
        empty_policy=choice(EmptyPolicy, "spec.emptyPolicy", spec.get("emptyPolicy", EmptyPolicy.FAIL)),
        hash_header=_hash_header(spec.get("consistentHash")) if policy is Policy.CONSISTENT_HASH else "",
        outliers=parse_outlier_detection("spec.outlierDetection", spec.get("outlierDetection")),
        prefer=choice(Preference, "spec.locality.prefer", locality["prefer"]) if "prefer" in locality else None,
    )


def _hash_header(value: object) -> str:
    header = mapping("spec.consistentHash", value).get("header")
    if not isinstance(header, str) or not header:
        raise SpecError("spec.consistentHash.header", "name the metadata key by whose value backends are chosen")
    return header


def parse_outlier_detection(path: str, value: object) -> OutlierDetection | None:
    """Read ``spec.outlierDetection``; raises :class:`SpecError` with the field."""
    return None if value is None else _parse(OutlierDetection, path, value)


def _parse(kind: type[T], path: str, value: object) -> T:
    given, found = mapping(path, value), dict[str, Any]()
    for each in fields(cast("type[Any]", kind)):
        name, default = each.metadata["name"], cast("Any", each.default)
        if "range" in each.metadata:
            found[each.name] = integer(path, given, name, default, *each.metadata["range"])
        elif given.get(name) is not None:
            found[each.name] = _parse(each.metadata["kind"], f"{path}.{name}", given[name])
    return kind(**found)


def outlier_detection_spec(outliers: OutlierDetection | SuccessRate | FailurePercentage) -> dict[str, Any]:
    """Return ``spec.outlierDetection`` with all defaults written out."""
    values = {each.metadata["name"]: getattr(outliers, each.name) for each in fields(outliers)}
    return {
        name: value if isinstance(value, int) else outlier_detection_spec(value)
        for name, value in values.items()
        if value is not None
    }

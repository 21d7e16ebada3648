"""Weights from the load reports of backends (ORCA), as in gRFC A58.

A call may end with a report in the trailer :data:`TRAILER`. A backend that serves more queries per utilization gets a
larger weight; failed queries reduce it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import Final, Generic, TypeVar

from google.protobuf.message import DecodeError

from backendpool.proto.orca.orca_pb2 import LoadReport

K = TypeVar("K")

TRAILER: Final = "endpoint-load-metrics-bin"
"""The metadata key of gRFC A51, its value a serialized ``xds.data.orca.v3.OrcaLoadReport``."""

UPDATE_PERIOD: Final = 1.0
"""Seconds between updates of the pickers' weights (A58's ``weight_update_period``)."""


@dataclass(frozen=True, slots=True)
class _Reported:
    weight: float
    since: float
    """When the first report came in."""
    last: float


@dataclass(slots=True)
class LoadWeights(Generic[K]):
    """Weights of backends by key; durations and times are in seconds, with A58's defaults.

    A weight is used once reports have come in for ``blackout`` seconds, since the first ones describe a cold start, and
    until none has come in for ``expiration``. ``penalty`` is A58's error utilization penalty.
    """

    blackout: float = 10.0
    expiration: float = 180.0
    penalty: float = 1.0
    _reported: dict[K, _Reported] = field(default_factory=dict)

    def report(self, key: K, trailer: bytes, now: float) -> None:
        """Record the report in ``trailer``; one that is empty or malformed is ignored."""
        weight = weight_of(trailer, self.penalty)
        if weight > 0:
            before = self._reported.get(key)
            since = now if before is None or self._expired(before, now) else before.since
            self._reported[key] = _Reported(weight, since, now)

    def weight(self, key: K, now: float) -> float:
        """Return the weight of ``key``; 0 if there is none to use."""
        found = self._reported.get(key)
        if found is None or self._expired(found, now) or now - found.since < self.blackout:
            return 0.0
        return found.weight

    def forget(self, key: K) -> None:
        """Drop the reports of ``key``, which was removed or reconnected: the blackout starts over."""
        self._reported.pop(key, None)

    def _expired(self, reported: _Reported, now: float) -> bool:
        return now - reported.last >= self.expiration


def weight_of(trailer: bytes, penalty: float) -> float:
    """Return A58's weight, ``qps / (utilization + eps / qps * penalty)``; 0 if the report gives none.

    The utilization is the application's if reported, else that of the CPU.
    """
    try:
        report = LoadReport.FromString(trailer)
    except DecodeError:
        return 0.0
    utilization = report.application_utilization if report.application_utilization > 0 else report.cpu_utilization
    qps = report.rps_fractional
    if not (utilization > 0 and qps > 0):
        return 0.0
    weight = qps / (utilization + max(0.0, report.eps) / qps * penalty)
    return weight if isfinite(weight) and weight > 0 else 0.0

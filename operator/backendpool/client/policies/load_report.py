"""Weights from what backends tell of their load (ORCA): gRFC A58.

Each call may end with a report in the trailer :data:`TRAILER`. A backend that does much for what of it is in use can do
more, and gets more; what it fails at counts against it.
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
"""Seconds after which pickers are to go by the weights of then (A58's ``weight_update_period``)."""


@dataclass(frozen=True, slots=True)
class _Reported:
    weight: float
    since: float
    """Reports have come in since then."""
    last: float


@dataclass(slots=True)
class LoadWeights(Generic[K]):
    """The weights of backends, by their reports; durations and moments are in seconds, the defaults are A58's.

    A weight counts when reports have come in for ``blackout``, and until none has for ``expiration``: the first ones
    tell of a start, and old ones of nothing. ``penalty`` says how much a failed call counts.
    """

    blackout: float = 10.0
    expiration: float = 180.0
    penalty: float = 1.0
    _reported: dict[K, _Reported] = field(default_factory=dict)

    def report(self, key: K, trailer: bytes, now: float) -> None:
        """A call to ``key`` ended with ``trailer``; one that says nothing, or cannot be read, changes nothing."""
        weight = weight_of(trailer, self.penalty)
        if weight > 0:
            before = self._reported.get(key)
            since = now if before is None or self._expired(before, now) else before.since
            self._reported[key] = _Reported(weight, since, now)

    def weight(self, key: K, now: float) -> float:
        """The weight that counts for ``key``; 0 where none does."""
        found = self._reported.get(key)
        if found is None or self._expired(found, now) or now - found.since < self.blackout:
            return 0.0
        return found.weight

    def forget(self, key: K) -> None:
        """``key`` has gone, or was connected to anew: what it reports counts after a blackout again."""
        self._reported.pop(key, None)

    def _expired(self, reported: _Reported, now: float) -> bool:
        return now - reported.last >= self.expiration


def weight_of(trailer: bytes, penalty: float) -> float:
    """A58's weight, ``qps / (utilization + eps / qps * penalty)``; 0 where the report does not give one.

    The application's own utilization counts, where it tells one, and that of the CPU else.
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

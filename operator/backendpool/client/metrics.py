"""Prometheus metrics of channels (extra ``metrics``), read at scrape time so that calls cost nothing.

``prometheus_client.REGISTRY.register(ChannelCollector(one, other))``: one collector for all channels of a process,
since Prometheus expects all series of a name together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from backendpool.client._channel import PoolChannel
from backendpool.client._status import BackendStatus, Status
from backendpool.client._subchannel import Connection
from backendpool.runtime.extras import extra

with extra("metrics"):
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector

_PREFIX = "backendpool_client"


class ChannelCollector(Collector):
    """The series of ``channels``, labelled by ``pool``; each channel must be of another pool.

    The series of a backend end when it is removed, to bound their number. The totals of the pool include it further on.
    """

    def __init__(self, *channels: PoolChannel) -> None:
        self._channels = channels

    def collect(self) -> Iterable[Metric]:
        statuses = [channel.status() for channel in self._channels]
        yield from _of_pools(statuses)
        yield from _of_backends(statuses)


def _of_pools(statuses: Sequence[Status]) -> Iterable[Metric]:
    age = GaugeMetricFamily(
        # The same name as in the operator and the lookaside.
        "backendpool_view_age_seconds",
        "Time since the pool was last known to be current.",
        labels=["pool"],
    )
    picks = CounterMetricFamily(f"{_PREFIX}_picks", "Attempts of calls on all backends ever.", labels=["pool"])
    failures = CounterMetricFamily(
        f"{_PREFIX}_failures", "Failed attempts of calls on all backends ever.", labels=["pool"]
    )
    backends = GaugeMetricFamily(f"{_PREFIX}_backends", "Backends by their connection.", labels=["pool", "connection"])
    for status in statuses:
        age.add_metric([status.pool], status.age)
        picks.add_metric([status.pool], status.calls_started)
        failures.add_metric([status.pool], status.calls_failed)
        counts = Counter(backend.connection for backend in status.backends)
        for connection in Connection:
            backends.add_metric([status.pool, connection], counts[connection])
    return age, picks, failures, backends


_COUNTERS: Final[dict[str, tuple[str, Callable[[BackendStatus], int]]]] = {
    "picks": ("Attempts of calls.", lambda backend: backend.calls_started),
    "failures": ("Failed attempts of calls.", lambda backend: backend.calls_failed),
    "ejections": ("Ejections by outlier detection.", lambda backend: backend.ejections),
    "connections": ("Connections.", lambda backend: backend.connections),
}
_GAUGES: Final[dict[str, tuple[str, Callable[[BackendStatus], bool]]]] = {
    "connected": ("1 while it is connected.", lambda backend: backend.connection is Connection.CONNECTED),
    "ejected": ("1 while it is ejected.", lambda backend: backend.ejected),
}


def _of_backends(statuses: Sequence[Status]) -> Iterable[Metric]:
    for kind, families in ((CounterMetricFamily, _COUNTERS), (GaugeMetricFamily, _GAUGES)):
        for name, (text, read) in families.items():
            family = kind(f"{_PREFIX}_backend_{name}", text, labels=["pool", "backend", "pod"])
            for status in statuses:
                for backend in status.backends:
                    family.add_metric(_labels(status, backend), float(read(backend)))
            yield family


def _labels(status: Status, backend: BackendStatus) -> list[str]:
    return [status.pool, backend.endpoint.target, backend.endpoint.pod_name]

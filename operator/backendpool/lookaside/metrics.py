"""The lookaside's Prometheus metrics. What the view knows is read when it is scraped, and kept nowhere."""

from __future__ import annotations

from collections.abc import Iterator

from grpc import StatusCode
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from backendpool.endpoints import EndpointState
from backendpool.lookaside.view import EndpointView


class LookasideMetrics(Collector):
    """What to alert on: a view that ages, no endpoints, resolves that fail."""

    def __init__(self, registry: CollectorRegistry, view: EndpointView) -> None:
        self._view = view
        self._resolves = Counter(
            "backendpool_lookaside_resolves", "Resolve calls, by gRPC status code.", ["code"], registry=registry
        )
        registry.register(self)

    def resolved(self, code: StatusCode) -> None:
        """A Resolve was answered with that status."""
        self._resolves.labels(code.name).inc()

    def collect(self) -> Iterator[GaugeMetricFamily | InfoMetricFamily]:
        """What the view knows now."""
        yield GaugeMetricFamily(
            "backendpool_view_age_seconds",
            "Since the endpoints were last known to be current.",
            value=self._view.age(),
        )
        endpoints = self._view.endpoints()
        if endpoints is None:
            return
        by_state = GaugeMetricFamily("backendpool_endpoints", "Endpoints of the pool, by state.", labels=["state"])
        by_state.add_metric([EndpointState.READY], len(endpoints.ready))
        by_state.add_metric([EndpointState.DRAINING], len(endpoints.draining))
        yield by_state
        yield InfoMetricFamily(
            "backendpool_endpoints_revision",
            "Names the content of the endpoint list: equal lists have equal revisions.",
            value={"revision": endpoints.revision},
        )

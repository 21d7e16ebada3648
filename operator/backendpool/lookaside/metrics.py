"""The lookaside's Prometheus metrics. Gauges are read from the informer when they are scraped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized

from grpc import StatusCode
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from backendpool.api.endpoints import EndpointState
from backendpool.lookaside.informers import EndpointInformer


class LookasideMetrics(Collector):
    """Counters of the services, and gauges of ``endpoints`` and of the open ``streams`` by protocol."""

    def __init__(self, registry: CollectorRegistry, endpoints: EndpointInformer, streams: Mapping[str, Sized]) -> None:
        self._endpoints = endpoints
        self._streams = streams
        self._resolves = Counter(
            "backendpool_lookaside_resolves", "Resolve calls, by gRPC status code.", ["code"], registry=registry
        )
        self._ads_acks = Counter(
            "backendpool_lookaside_ads_acks",
            "xDS responses that clients acknowledged (ack) or rejected (nack), by type of resource.",
            ["type", "outcome"],
            registry=registry,
        )
        self._certificate_reloads = Counter(
            "backendpool_lookaside_certificate_reloads",
            "Reloads of a changed certificate, by outcome: success or error.",
            ["outcome"],
            registry=registry,
        )
        registry.register(self)

    def count_resolve(self, code: StatusCode) -> None:
        self._resolves.labels(code.name).inc()

    def count_ack(self, type_name: str, nack: bool) -> None:
        self._ads_acks.labels(type_name, "nack" if nack else "ack").inc()

    def count_reload(self, success: bool) -> None:
        self._certificate_reloads.labels("success" if success else "error").inc()

    def collect(self) -> Iterator[GaugeMetricFamily | InfoMetricFamily]:
        """Yield the gauges as they are now."""
        yield GaugeMetricFamily(
            "backendpool_view_age_seconds",
            "Since the endpoints were last known to be current.",
            value=self._endpoints.age(),
        )
        streams = GaugeMetricFamily("backendpool_lookaside_streams", "Streams that are open.", labels=["protocol"])
        for protocol, subscribers in self._streams.items():
            streams.add_metric([protocol], len(subscribers))
        yield streams
        endpoints = self._endpoints.endpoints()
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

"""The lookaside's Prometheus metrics. What the view knows is read when it is scraped, and kept nowhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized

from grpc import StatusCode
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from backendpool.api.endpoints import EndpointState
from backendpool.lookaside.informers import EndpointView


class LookasideMetrics(Collector):
    """What to alert on: a view that ages, no endpoints, resolves that fail, clients that refuse what they are told.

    ``streams`` are the open ones by the name of their protocol.
    """

    def __init__(self, registry: CollectorRegistry, view: EndpointView, streams: Mapping[str, Sized]) -> None:
        self._view = view
        self._streams = streams
        self._resolves = Counter(
            "backendpool_lookaside_resolves", "Resolve calls, by gRPC status code.", ["code"], registry=registry
        )
        self._verdicts = Counter(
            "backendpool_lookaside_ads_verdicts",
            "xDS responses that clients took or refused, by type of resource.",
            ["type", "verdict"],
            registry=registry,
        )
        self._renewals = Counter(
            "backendpool_lookaside_certificate_renewals",
            "Certificates found in place of the one before, by whether they are used.",
            ["outcome"],
            registry=registry,
        )
        registry.register(self)

    def resolved(self, code: StatusCode) -> None:
        """A Resolve was answered with that status."""
        self._resolves.labels(code.name).inc()

    def judged(self, type_name: str, refused: bool) -> None:
        """An xDS client took or refused a response."""
        self._verdicts.labels(type_name, "refused" if refused else "taken").inc()

    def renewed(self, used: bool) -> None:
        """Another certificate was found."""
        self._renewals.labels("used" if used else "refused").inc()

    def collect(self) -> Iterator[GaugeMetricFamily | InfoMetricFamily]:
        """What the view knows now."""
        yield GaugeMetricFamily(
            "backendpool_view_age_seconds",
            "Since the endpoints were last known to be current.",
            value=self._view.age(),
        )
        streams = GaugeMetricFamily("backendpool_lookaside_streams", "Streams that are open.", labels=["protocol"])
        for protocol, followers in self._streams.items():
            streams.add_metric([protocol], len(followers))
        yield streams
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

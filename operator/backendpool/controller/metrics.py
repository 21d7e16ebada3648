"""The operator's Prometheus metrics, in a separate registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from backendpool.controller.workqueue import QueueMetrics
from backendpool.k8s.metrics import WatchMetrics
from backendpool.k8s.resources import Resource

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class OperatorMetrics(WatchMetrics, QueueMetrics):
    """The metrics of the work queue, the reflectors and the writes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self._registry = registry
        self.queue_wait = Histogram(
            "backendpool_queue_wait_seconds",
            "From a key being due to its reconcile.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.reconcile = Histogram(
            "backendpool_reconcile_seconds",
            "Duration of a reconcile, by outcome: done, requeue, failed, error.",
            ["outcome"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.status_writes = Counter("backendpool_status_writes", "Status documents written.", registry=registry)
        self.child_writes = Counter(
            "backendpool_child_writes", "Children created, applied or deleted.", ["kind", "verb"], registry=registry
        )

        self._view_age = Gauge(
            "backendpool_view_age_seconds",
            "Since the view of a watched kind was last known to be current.",
            ["resource", "watched_namespace"],
            registry=registry,
        )

    def began(self, seconds: float) -> None:
        self.queue_wait.observe(seconds)

    def ended(self, seconds: float, outcome: str) -> None:
        self.reconcile.labels(outcome).observe(seconds)

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Register a gauge that calls ``value`` at each scrape."""
        Gauge(name, text, registry=self._registry).set_function(value)

    def view_age(self, resource: Resource, namespace: str | None, seconds: Callable[[], float]) -> None:
        """Register the age of an informer; ``namespace`` is None for all namespaces."""
        self._view_age.labels(resource.plural, namespace or "").set_function(seconds)

    def requests(self, sent: Mapping[str, int]) -> None:
        """Register the counts of requests, by verb."""
        self._registry.register(_Requests(sent))


class _Requests(Collector):
    """Exports the request counts that the API client keeps."""

    def __init__(self, sent: Mapping[str, int]) -> None:
        self._sent = sent

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily("backendpool_api_requests", "Requests sent to the API server.", labels=["verb"])
        for verb, count in self._sent.items():
            family.add_metric([verb], count)
        yield family

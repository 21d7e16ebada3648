"""Prometheus metrics of reflectors: lists, watch events and failures."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from backendpool.k8s.reflector import ReflectorMetrics
from backendpool.k8s.resources import Resource


class WatchMetrics(ReflectorMetrics):
    """Counts lists, watch events and failures of reflectors."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lists = Counter("backendpool_lists", "Complete lists taken.", ["resource"], registry=registry)
        self._events = Counter(
            "backendpool_watch_events", "Watch events received, by kind.", ["resource", "kind"], registry=registry
        )
        self._failures = Counter(
            "backendpool_watch_failures", "Lists and watches that failed.", ["resource", "error"], registry=registry
        )

    def listed(self, resource: Resource, objects: int, seconds: float) -> None:
        self._lists.labels(resource.plural).inc()

    def event(self, resource: Resource, kind: str) -> None:
        self._events.labels(resource.plural, kind).inc()

    def failed(self, resource: Resource, error: Exception) -> None:
        self._failures.labels(resource.plural, type(error).__name__).inc()

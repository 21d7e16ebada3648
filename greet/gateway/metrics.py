"""Metrics of the gateway."""

from __future__ import annotations

from functools import cache

from grpc import StatusCode
from prometheus_client import CollectorRegistry, Counter, Histogram

from backendpool.client import PoolChannel
from backendpool.client.metrics import ChannelCollector

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class GatewayMetrics:
    """Metrics of HTTP requests and of calls to backends."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        requests = Counter("greet_gateway_requests", "HTTP requests by response status.", ["code"], registry=registry)
        self._seconds = Histogram(
            "greet_gateway_request_duration_seconds",
            "Duration of HTTP requests in seconds.",
            buckets=_BUCKETS,
            registry=registry,
        )
        calls = Counter(
            "greet_gateway_backend_calls",
            "gRPC calls to backends by status code (modes pool and watch).",
            ["code"],
            registry=registry,
        )
        # labels() takes three times as long as inc().
        self._requests = cache(lambda status: requests.labels(str(status)))
        self._calls = cache(lambda code: calls.labels(code.name))

    def answered(self, status: int, seconds: float) -> None:
        """Count a request with its response status and duration."""
        self._requests(status).inc()
        self._seconds.observe(seconds)

    def called(self, code: StatusCode) -> None:
        """Count a call to a backend by its status code."""
        self._calls(code).inc()

    def follow(self, channel: PoolChannel) -> None:
        """Export the metrics of ``channel``, too (modes pool and watch)."""
        self._registry.register(ChannelCollector(channel))

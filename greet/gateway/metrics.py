"""The gateway's figures."""

from __future__ import annotations

from collections.abc import Callable

from grpc import StatusCode
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class GatewayMetrics:
    """Requests from outside, calls to backends, and how old is what is known of these."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._requests = Counter(
            "greet_gateway_requests", "HTTP requests by the status of their answer.", ["code"], registry=registry
        )
        self._seconds = Histogram(
            "greet_gateway_request_duration_seconds", "Time to answer.", buckets=_BUCKETS, registry=registry
        )
        self._calls = Counter(
            "greet_gateway_backend_calls",
            "gRPC calls by the status of their answer (mode pool).",
            # Not by backend: pods come and go for ever, and each would leave its series behind.
            ["code"],
            registry=registry,
        )

    def answered(self, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(str(status)).inc()
        self._seconds.observe(seconds)

    def called(self, code: StatusCode) -> None:
        """A call to a backend ended."""
        self._calls.labels(code.name).inc()

    def view_age(self, seconds: Callable[[], float]) -> None:
        """Show how old the view of the pool is, by the name that operator and lookaside have for it."""
        Gauge(
            "backendpool_view_age_seconds",
            "Since the pool was last known to be current (mode pool).",
            registry=self._registry,
        ).set_function(seconds)

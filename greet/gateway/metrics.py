"""The gateway's figures."""

from __future__ import annotations

from grpc import StatusCode
from prometheus_client import CollectorRegistry, Counter, Histogram

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class GatewayMetrics:
    """Requests from outside, and calls to backends."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "greet_gateway_requests", "HTTP requests by the status of their answer.", ["code"], registry=registry
        )
        self._seconds = Histogram(
            "greet_gateway_request_duration_seconds", "Time to answer.", buckets=_BUCKETS, registry=registry
        )
        self._calls = Counter(
            "greet_gateway_backend_calls",
            "gRPC calls by the backend's address and the status of its answer (mode pool).",
            ["backend", "code"],
            registry=registry,
        )

    def answered(self, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(str(status)).inc()
        self._seconds.observe(seconds)

    def called(self, backend: str, code: StatusCode) -> None:
        """A call to ``backend`` (``host:port``) ended."""
        self._calls.labels(backend, code.name).inc()

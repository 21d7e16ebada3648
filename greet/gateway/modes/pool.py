"""The pool's status by watch."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from greet.gateway.greeter import Greeter
from greet.gateway.metrics import GatewayMetrics
from greet.gateway.modes import balanced
from greet.settings import GatewaySettings


def connected(settings: GatewaySettings, metrics: GatewayMetrics) -> AbstractAsyncContextManager[Greeter]:
    """Greet by the GrpcBackendPool GRPC_SVC in POD_NAMESPACE."""
    return balanced.connected(f"pool:///{settings.namespace}/{settings.service}", settings, metrics)

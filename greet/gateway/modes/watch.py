"""The pool as its lookaside tells it, by Watch: as current as its status, without a right to read that."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from greet.gateway.greeter import Greeter
from greet.gateway.metrics import GatewayMetrics
from greet.gateway.modes import balanced
from greet.settings import GatewaySettings


def connected(settings: GatewaySettings, metrics: GatewayMetrics) -> AbstractAsyncContextManager[Greeter]:
    """Greet by the pool GRPC_SVC in POD_NAMESPACE, and its lookaside at LB_SVC_NAME and LB_PORT."""
    lookaside = f"{settings.lookaside_host}:{settings.lookaside_port}"
    return balanced.connected(f"lookaside://{lookaside}/{settings.namespace}/{settings.service}", settings, metrics)

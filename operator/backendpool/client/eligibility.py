"""Which backends may take calls at all, by their state and their connection."""

from __future__ import annotations

from collections.abc import Collection

from backendpool.api.endpoints import EndpointState
from backendpool.client.channels import Backend, Connection


def eligible(backends: Collection[Backend]) -> tuple[Backend, ...]:
    """The Ready ones that are connected. Draining ones only where no Ready one is, nor is about to be."""
    # Looking a member up takes as long as all else that is done for a backend.
    up, takes_calls = Connection.CONNECTED, EndpointState.READY
    connected = [backend for backend in backends if backend.connection is up]
    ready = tuple([backend for backend in connected if backend.endpoint.state is takes_calls])
    if ready or any(b.connection is Connection.CONNECTING and b.endpoint.state is takes_calls for b in backends):
        return ready
    return tuple(connected)

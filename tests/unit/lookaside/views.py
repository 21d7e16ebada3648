"""Pool views for tests."""

from __future__ import annotations

from collections.abc import Mapping

from backendpool.api.endpoints import Endpoint, EndpointSet, EndpointState
from backendpool.api.load_balancing import DEFAULT, LoadBalancing
from backendpool.api.pool import PoolView
from backendpool.lookaside.xds.names import PoolName
from backendpool.lookaside.xds.snapshot import SnapshotCache

POOL = PoolName("default", "greetserver")
NAME = "greetserver.default"
PORT = 50051


def endpoint(address: str, zone: str = "", state: EndpointState = EndpointState.READY) -> Endpoint:
    return Endpoint(address, PORT, pod_uid=f"uid-{address}", zone=zone, state=state)


def draining(address: str, zone: str = "") -> Endpoint:
    return endpoint(address, zone, EndpointState.DRAINING)


def view(*endpoints: str | Endpoint, balancing: LoadBalancing = DEFAULT) -> PoolView:
    """Return a view with these endpoints; a bare address means a ready endpoint."""
    return PoolView(EndpointSet.of(endpoint(e) if isinstance(e, str) else e for e in endpoints), balancing)


def zoned(zones: Mapping[str, str], **balancing: object) -> PoolView:
    """Return a view with a ready endpoint for each address, in its zone."""
    found = [endpoint(address, zone) for address, zone in zones.items()]
    return view(*found, balancing=LoadBalancing(**balancing))  # type: ignore[arg-type]


def snapshot_cache(*endpoints: str | Endpoint, balancing: LoadBalancing = DEFAULT) -> SnapshotCache:
    return SnapshotCache(POOL, view(*endpoints, balancing=balancing))

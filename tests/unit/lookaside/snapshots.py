"""Snapshots of the pool ``default/greetserver``."""

from __future__ import annotations

from collections.abc import Mapping

from backendpool.api.endpoints import Endpoint
from backendpool.api.load_balancing import DEFAULT, LoadBalancing
from backendpool.api.pool import PoolView
from backendpool.lookaside.xds.names import PoolName
from backendpool.lookaside.xds.snapshot import SnapshotCache
from tests.fakes.objects import endpoint, pool_view

POOL = PoolName("default", "greetserver")
NAME = "greetserver.default"


def zoned(zones: Mapping[str, str], **balancing: object) -> PoolView:
    """Return a PoolView with a ready endpoint for each address, in its zone."""
    found = [endpoint(address, zone=zone) for address, zone in zones.items()]
    return pool_view(*found, balancing=LoadBalancing(**balancing))  # type: ignore[arg-type]


def snapshot_cache(*endpoints: str | Endpoint, balancing: LoadBalancing = DEFAULT) -> SnapshotCache:
    return SnapshotCache(POOL, pool_view(*endpoints, balancing=balancing))

"""The status document of a pool, which the operator writes and clients read. Pure, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from backendpool.api.conditions import ChildrenStatus, compute_conditions, merge_conditions
from backendpool.api.constants import MAX_STATUS_ENDPOINTS
from backendpool.api.endpoints import Endpoint, EndpointSet, EndpointState
from backendpool.api.pool import Pool, lookaside_target, xds_target
from backendpool.errors import SpecError


def build_status(
    pool: Pool,
    endpoints: EndpointSet | None,
    children: ChildrenStatus,
    now: datetime,
    unwatchable: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Build the whole status of ``pool``; equal to ``pool.status`` if nothing changed.

    ``endpoints`` is None while they are unknown: the Service is not the pool's, or has no EndpointSlice yet. The
    endpoints in ``pool.status`` are then kept, so that no client loses good backends. ``unwatchable`` are the kinds
    that the operator has lost permission to watch, with the API server's error.
    """
    conditions = compute_conditions(pool, endpoints, children, unwatchable)
    return {
        "observedGeneration": pool.generation,
        "conditions": merge_conditions(pool.status.get("conditions") or (), conditions, pool.generation, now),
        **_addresses(pool),
        **(_last_known(pool.status) if endpoints is None else _published(endpoints)),
    }


def endpoints_of(status: Mapping[str, Any]) -> EndpointSet:
    """Read the endpoints, revision and truncation back from a status.

    Endpoints in an unknown state, written by a newer operator, are neither Ready nor Draining: they are left out.
    """
    known = [item for item in status.get("endpoints") or () if item.get("state") in _STATES]
    return EndpointSet(
        endpoints=tuple(_from_json(item) for item in known),
        revision=status.get("revision", ""),
        truncated=bool(status.get("truncated")),
    )


_STATES: Final = frozenset(EndpointState)
_ENDPOINT_FIELDS: Final = ("revision", "ready", "draining", "total", "zones", "endpoints", "truncated")


def _published(endpoints: EndpointSet) -> dict[str, Any]:
    """The counts are those of the whole set, even if the list is truncated."""
    zones = Counter(endpoint.zone for endpoint in endpoints.ready if endpoint.zone)
    return {
        "revision": endpoints.revision,
        "ready": len(endpoints.ready),
        "draining": len(endpoints.draining),
        "total": len(endpoints.endpoints),
        "zones": [{"zone": zone, "ready": ready} for zone, ready in sorted(zones.items())],
        "endpoints": [_to_json(endpoint) for endpoint in endpoints.endpoints[:MAX_STATUS_ENDPOINTS]],
        "truncated": endpoints.truncated or len(endpoints.endpoints) > MAX_STATUS_ENDPOINTS,
    }


def _last_known(status: Mapping[str, Any]) -> dict[str, Any]:
    return {name: status[name] for name in _ENDPOINT_FIELDS if name in status}


def _to_json(endpoint: Endpoint) -> dict[str, Any]:
    optional = {
        "podName": endpoint.pod_name,
        "podUID": endpoint.pod_uid,
        "nodeName": endpoint.node_name,
        "zone": endpoint.zone,
    }
    return {
        "address": endpoint.address,
        "port": endpoint.port,
        **{name: value for name, value in optional.items() if value},
        "state": str(endpoint.state),
    }


def _from_json(item: Mapping[str, Any]) -> Endpoint:
    return Endpoint(
        address=item["address"],
        port=item["port"],
        pod_uid=item.get("podUID", ""),
        pod_name=item.get("podName", ""),
        node_name=item.get("nodeName", ""),
        zone=item.get("zone", ""),
        state=EndpointState(item["state"]),
    )


def _addresses(pool: Pool) -> dict[str, Any]:
    """Keep the previous addresses while the spec is invalid, since no child is changed."""
    if isinstance(pool.spec, SpecError):
        return {name: pool.status[name] for name in ("serviceName", "lookaside") if name in pool.status}
    if not pool.spec.lookaside.replicas:
        return {"serviceName": pool.name}
    found = {"target": lookaside_target(pool), "xdsTarget": xds_target(pool)}
    return {"serviceName": pool.name, "lookaside": found}

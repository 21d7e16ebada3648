"""The status document of a pool: what the operator publishes and what clients read. Pure, no clock.

Both directions stand here so that they cannot drift apart: :func:`build_status` writes the document,
:func:`endpoints_of` reads the endpoints back out of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from backendpool.api.assessment import ChildrenView, assess
from backendpool.api.conditions import merge
from backendpool.api.constants import MAX_STATUS_ENDPOINTS
from backendpool.api.endpoints import Endpoint, EndpointSet, EndpointState
from backendpool.api.pool import Pool, lookaside_target, xds_target
from backendpool.errors import SpecError


def build_status(
    pool: Pool,
    endpoints: EndpointSet | None,
    children: ChildrenView,
    now: datetime,
    refused: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """The whole status of ``pool``, equal to ``pool.status`` where there is nothing new to say.

    ``endpoints`` is None while they are not known: the Service is not the pool's, or the cluster has not
    made its first EndpointSlice. What the status lists then stands, so that nobody loses good backends.
    ``refused`` are the kinds that may not be watched any more, with the API server's words.
    """
    conditions = assess(pool, endpoints, children, refused)
    return {
        "observedGeneration": pool.generation,
        "conditions": merge(pool.status.get("conditions") or (), conditions, pool.generation, now),
        **_addresses(pool),
        **(_last_known(pool.status) if endpoints is None else _published(endpoints)),
    }


def endpoints_of(status: Mapping[str, Any]) -> EndpointSet:
    """The endpoints that a status lists, with the revision and truncation that its writer stated.

    An endpoint in a state that this version does not know is left out: a newer operator found that it is
    neither Ready nor Draining, so no call may go there.
    """
    known = [item for item in status.get("endpoints") or () if item.get("state") in _STATES]
    return EndpointSet(
        endpoints=tuple(_read(item) for item in known),
        revision=status.get("revision", ""),
        truncated=bool(status.get("truncated")),
    )


_STATES: Final = frozenset(EndpointState)
_ENDPOINT_FIELDS: Final = ("revision", "ready", "draining", "total", "zones", "endpoints", "truncated")


def _published(endpoints: EndpointSet) -> dict[str, Any]:
    """The counts are of the whole set, also where the list is cut."""
    zones = Counter(endpoint.zone for endpoint in endpoints.ready if endpoint.zone)
    return {
        "revision": endpoints.revision,
        "ready": len(endpoints.ready),
        "draining": len(endpoints.draining),
        "total": len(endpoints.endpoints),
        "zones": [{"zone": zone, "ready": ready} for zone, ready in sorted(zones.items())],
        "endpoints": [_written(endpoint) for endpoint in endpoints.endpoints[:MAX_STATUS_ENDPOINTS]],
        "truncated": endpoints.truncated or len(endpoints.endpoints) > MAX_STATUS_ENDPOINTS,
    }


def _last_known(status: Mapping[str, Any]) -> dict[str, Any]:
    return {name: status[name] for name in _ENDPOINT_FIELDS if name in status}


def _written(endpoint: Endpoint) -> dict[str, Any]:
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


def _read(item: Mapping[str, Any]) -> Endpoint:
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
    """Where the pool is to be found; as it was while the spec cannot be read, since nothing was changed."""
    if isinstance(pool.spec, SpecError):
        return {name: pool.status[name] for name in ("serviceName", "lookaside") if name in pool.status}
    if not pool.spec.lookaside.replicas:
        return {"serviceName": pool.name}
    found = {"target": lookaside_target(pool), "xdsTarget": xds_target(pool)}
    return {"serviceName": pool.name, "lookaside": found}

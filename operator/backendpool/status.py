"""The status document of a pool: what the operator publishes and what clients read. Pure, no clock.

Both directions stand here so that they cannot drift apart: :func:`build_status` writes the document,
:func:`endpoints_of` reads the endpoints back out of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from backendpool.conditions import Condition, ConditionType, Reason, merge
from backendpool.endpoints import Endpoint, EndpointSet, EndpointState
from backendpool.errors import SpecError
from backendpool.names import MAX_STATUS_ENDPOINTS, lookaside_name
from backendpool.pool import Pool
from backendpool.spec import PoolSpec


@dataclass(frozen=True, slots=True)
class ChildrenView:
    """What a reconciliation knows of a pool's children when it writes the status.

    ``conflict`` and ``failure`` are whole sentences that say what to do, empty where there is none.
    """

    applied: bool = False
    """Every child stands in the cluster as desired."""
    conflict: str = ""
    """An object of a child's name that is not the pool's: a person has to decide."""
    failure: str = ""
    """Why the last apply failed; it is tried again."""
    lookaside_available: int = 0
    """Available replicas of the lookaside Deployment."""


def build_status(
    pool: Pool, endpoints: EndpointSet | None, children: ChildrenView, now: datetime, refused: str = ""
) -> dict[str, Any]:
    """The whole status of ``pool``, equal to ``pool.status`` where there is nothing new to say.

    ``endpoints`` is None while they are not known: the Service is not the pool's, or the cluster has not
    made its first EndpointSlice. What the status lists then stands, so that nobody loses good backends.
    ``refused`` is why they cannot be followed any more, empty where they are.
    """
    conditions = _conditions(pool, endpoints, children, refused)
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
    target = f"{lookaside_name(pool.name)}.{pool.namespace}.svc:{pool.spec.lookaside.port}"
    return {"serviceName": pool.name, "lookaside": {"target": target}}


def _conditions(
    pool: Pool, endpoints: EndpointSet | None, children: ChildrenView, refused: str
) -> tuple[Condition, ...]:
    stalled = _stalled(pool, children)
    reconciling = _reconciling(stalled, children)
    available = _endpoints_stale(refused) if refused else _endpoints_available(pool, endpoints)
    lookaside = _lookaside_available(pool, children)
    needed = [available]
    if lookaside.reason is not Reason.DISABLED:
        needed.append(lookaside)
    hindrances = [
        *(condition for condition in (stalled, reconciling) if condition.status),
        *(condition for condition in needed if not condition.status),
    ]
    return (_ready(pool, hindrances), available, lookaside, reconciling, stalled)


def _ready(pool: Pool, hindrances: list[Condition]) -> Condition:
    if hindrances:
        first = hindrances[0]
        # Of a list that may be old nobody knows that it is wrong.
        status = None if first.reason is Reason.ENDPOINTS_STALE else False
        return Condition(ConditionType.READY, status, first.reason, first.message)
    return Condition(ConditionType.READY, True, Reason.POOL_READY, f"The pool {pool.name} takes calls.")


def _stalled(pool: Pool, children: ChildrenView) -> Condition:
    kind = ConditionType.STALLED
    if isinstance(pool.spec, SpecError):
        message = f"The spec cannot be acted on; {pool.spec}. Change it, or update the operator and its CRD."
        return Condition(kind, True, Reason.INVALID_SPEC, message)
    if children.conflict:
        return Condition(kind, True, Reason.CONFLICT, children.conflict)
    return Condition(kind, False, Reason.NOT_STALLED, "Nothing waits for a person.")


def _reconciling(stalled: Condition, children: ChildrenView) -> Condition:
    """kstatus: work under way. Never with Stalled, which says that there is nothing left to try."""
    kind = ConditionType.RECONCILING
    if stalled.status:
        return Condition(kind, False, stalled.reason, "Nothing is under way until the pool can be acted on.")
    if children.failure:
        return Condition(kind, True, Reason.APPLY_FAILED, children.failure)
    if not children.applied:
        return Condition(kind, True, Reason.APPLYING, "The operator is applying the pool's children.")
    return Condition(kind, False, Reason.APPLIED, "All that the pool needs stands as its spec asks.")


def _endpoints_stale(refused: str) -> Condition:
    message = f"The operator may not watch EndpointSlices: {refused}. The list is as it was when it last could."
    return Condition(ConditionType.ENDPOINTS_AVAILABLE, None, Reason.ENDPOINTS_STALE, message)


def _endpoints_available(pool: Pool, endpoints: EndpointSet | None) -> Condition:
    kind = ConditionType.ENDPOINTS_AVAILABLE
    if endpoints is None:
        message = f"The endpoints of the Service {pool.name} are not known yet; until then the last list stands."
        return Condition(kind, None, Reason.ENDPOINTS_PENDING, message)
    ready, draining = len(endpoints.ready), len(endpoints.draining)
    if ready:
        message = f"{ready} {_plural(ready, 'endpoint is', 'endpoints are')} ready."
        return Condition(kind, True, Reason.ENDPOINTS_READY, message)
    if draining:
        message = (
            f"{_plural(draining, 'The only endpoint is', f'All {draining} endpoints are')} terminating, and "
            f"{_plural(draining, 'serves', 'serve')} until then. {_advice(pool)}"
        )
        return Condition(kind, False, Reason.ALL_DRAINING, message)
    return Condition(kind, False, Reason.NO_ENDPOINTS, f"No pod can take calls. {_advice(pool)}")


def _lookaside_available(pool: Pool, children: ChildrenView) -> Condition:
    kind = ConditionType.LOOKASIDE_AVAILABLE
    available = children.lookaside_available
    if isinstance(pool.spec, PoolSpec) and not pool.spec.lookaside.replicas:
        message = "The pool has no lookaside: set spec.lookaside.replicas to 2 to have one."
        return Condition(kind, False, Reason.DISABLED, message)
    if available:
        message = f"{available} {_plural(available, 'replica is', 'replicas are')} available."
        return Condition(kind, True, Reason.LOOKASIDE_READY, message)
    name = lookaside_name(pool.name)
    if _was_available(pool.status):
        message = f"No replica is available: see kubectl describe deployment {name} -n {pool.namespace}."
        return Condition(kind, False, Reason.LOOKASIDE_UNAVAILABLE, message)
    message = f"The Deployment {name} has no available replica yet."
    return Condition(kind, False, Reason.LOOKASIDE_STARTING, message)


def _was_available(status: Mapping[str, Any]) -> bool:
    """A lookaside that went away is worth a warning; one that has yet to start is not."""
    reasons = (Reason.LOOKASIDE_READY, Reason.LOOKASIDE_UNAVAILABLE)
    mine = ConditionType.LOOKASIDE_AVAILABLE
    return any(c["type"] == mine and c["reason"] in reasons for c in status.get("conditions") or ())


def _advice(pool: Pool) -> str:
    if isinstance(pool.spec, SpecError):
        return "Check the pods that the pool's Service selects."
    selector = ",".join(f"{key}={value}" for key, value in sorted(pool.spec.selector.items()))
    return (
        f"Check that pods are ready and serve gRPC on port {pool.spec.port}: "
        f"kubectl get pods -n {pool.namespace} -l {selector}."
    )


def _plural(count: int, one: str, many: str) -> str:
    return one if count == 1 else many

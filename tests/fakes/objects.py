"""Builders of Kubernetes objects, as the API server returns them, and of the values that are parsed from them.

A test names only the fields that it is about; the others have defaults. The default ``uid`` is derived from kind,
namespace and name, so pass another one for a recreated object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from backendpool.api.conditions import ChildrenStatus
from backendpool.api.constants import (
    API_VERSION,
    BACKENDS,
    COMPONENT_LABEL,
    KIND,
    POOL_LABEL,
    PORT_NAME,
    SERVICE_NAME_LABEL,
)
from backendpool.api.endpoint_slices import Slice, parse_slice
from backendpool.api.endpoints import Endpoint, EndpointSet, EndpointState
from backendpool.api.load_balancing import DEFAULT, LoadBalancing
from backendpool.api.pool import Pool, PoolView, parse_pool
from backendpool.api.status import build_status

Document: TypeAlias = dict[str, Any]
"""A JSON object."""

SELECTOR: Final = {"run": "greetserver"}

CONDITIONS: Final[dict[str, dict[str, bool]]] = {
    "ready": {"ready": True, "serving": True, "terminating": False},
    "unready": {"ready": False, "serving": False, "terminating": False},
    "draining": {"ready": False, "serving": True, "terminating": True},
    "terminated": {"ready": False, "serving": False, "terminating": True},
    # With publishNotReadyAddresses.
    "published unready": {"ready": True, "serving": False, "terminating": False},
    "published draining": {"ready": True, "serving": True, "terminating": True},
}
"""The conditions of an endpoint in an EndpointSlice, by the state of its pod (KEP-1672)."""


def pool(
    name: str = "greetserver",
    *,
    namespace: str = "default",
    uid: str = "",
    generation: int = 3,
    resource_version: int = 41,
    status: Mapping[str, Any] | None = None,
    **spec: Any,
) -> Document:
    """A GrpcBackendPool; ``spec`` adds to its required fields or replaces them."""
    metadata = _metadata(KIND, name, namespace, uid, resource_version)
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {**metadata, "generation": generation},
        "spec": {"selector": dict(SELECTOR), "port": 50051, **spec},
        **({} if status is None else {"status": status}),
    }


def parsed_pool(name: str = "greetserver", **fields: Any) -> Pool:
    """A :func:`pool`, parsed."""
    return parse_pool(pool(name, **fields))


def reconciled_pool(*endpoints: str | Endpoint, **fields: Any) -> Document:
    """A :func:`pool` with the status that the operator writes for these endpoints."""
    obj = pool(**fields)
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    status = build_status(parse_pool(obj), endpoint_set(*endpoints), ChildrenStatus(applied=True), now)
    return {**obj, "status": status}


def slice_endpoint(
    address: str = "10.0.0.1",
    *,
    pod_name: str = "",
    pod_uid: str = "",
    conditions: Mapping[str, bool | None] = CONDITIONS["ready"],
    **fields: Any,
) -> Document:
    """An endpoint of an EndpointSlice. The default name and uid of its pod are derived from the address."""
    target = {"kind": "Pod", "name": pod_name or f"pod-{address}", "uid": pod_uid or f"uid-{address}"}
    return {"addresses": [address], "conditions": dict(conditions), "targetRef": target, **fields}


def endpoint_slice(
    *endpoints: str | Document,
    draining: Iterable[str] = (),
    name: str = "greetserver-1",
    namespace: str = "default",
    service: str = "greetserver",
    service_uid: str = "",
    created: str = "",
    address_type: str = "IPv4",
    port: int = 50051,
    ports: list[Document] | None = None,
) -> Document:
    """An EndpointSlice of a pool's Service. An address means a ready pod, in ``draining`` a draining one.

    ``ports`` replaces the single ``port``. Without ``service_uid`` the slice has no owner, as if created manually.
    """
    labels = {SERVICE_NAME_LABEL: service, POOL_LABEL: service, COMPONENT_LABEL: BACKENDS}
    metadata = _metadata("EndpointSlice", name, namespace, labels=labels)
    if service_uid:
        owner = {"apiVersion": "v1", "kind": "Service", "name": service, "uid": service_uid, "controller": True}
        metadata["ownerReferences"] = [owner]
    if created:
        metadata["creationTimestamp"] = created
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": address_type,
        "endpoints": [
            *(slice_endpoint(one) if isinstance(one, str) else one for one in endpoints),
            *(slice_endpoint(address, conditions=CONDITIONS["draining"]) for address in draining),
        ],
        "ports": [{"name": PORT_NAME, "port": port, "protocol": "TCP"}] if ports is None else ports,
    }


def parsed_slice(*endpoints: str | Document, **fields: Any) -> Slice:
    """An :func:`endpoint_slice`, parsed."""
    return parse_slice(endpoint_slice(*endpoints, **fields))


def service(
    name: str = "greetserver",
    *,
    namespace: str = "default",
    uid: str = "",
    resource_version: int = 41,
    labels: Mapping[str, str] | None = None,
    **spec: Any,
) -> Document:
    """A Service without an owner."""
    metadata = _metadata("Service", name, namespace, uid, resource_version, labels)
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def service_account(name: str = "greetserver-lookaside", *, namespace: str = "default") -> Document:
    """A ServiceAccount without an owner."""
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata("ServiceAccount", name, namespace)}


def deployment(
    name: str = "greetserver-lookaside",
    *,
    namespace: str = "default",
    generation: int = 3,
    **status: Any,
) -> Document:
    """A Deployment of two replicas, without an owner."""
    metadata = _metadata("Deployment", name, namespace)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**metadata, "generation": generation},
        "spec": {"replicas": 2},
        "status": status,
    }


def pod(
    name: str = "greetserver-lookaside-1",
    *,
    namespace: str = "default",
    labels: Mapping[str, str] | None = None,
    deleted: str = "",
    state: Mapping[str, Any] | None = None,
    last_state: Mapping[str, Any] | None = None,
    **status: Any,
) -> Document:
    """A pod of a lookaside. Without ``state``, its status has no container, as before a kubelet reports one."""
    metadata = _metadata("Pod", name, namespace, labels=labels)
    if deleted:
        metadata["deletionTimestamp"] = deleted
    if state is not None:
        container = {"name": "lookaside", "state": dict(state), "lastState": dict(last_state or {})}
        status = {"containerStatuses": [container], **status}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status}


def lease(
    holder: str, *, renewed: datetime, duration: int = 15, name: str = "lease", namespace: str = "ops"
) -> Document:
    """A Lease; ``duration`` is in seconds."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": _metadata("Lease", name, namespace),
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": duration,
            "renewTime": renewed.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        },
    }


def endpoint(address: str = "10.0.0.1", *, port: int = 50051, **fields: Any) -> Endpoint:
    """An endpoint without a pod, ready by default."""
    return Endpoint(address, port, **fields)


def endpoint_set(*endpoints: str | Endpoint, draining: Iterable[str] = ()) -> EndpointSet:
    """A set of endpoints. An address means a ready one, in ``draining`` a draining one."""
    return EndpointSet.of(
        [
            *(endpoint(one) if isinstance(one, str) else one for one in endpoints),
            *(endpoint(address, state=EndpointState.DRAINING) for address in draining),
        ]
    )


def pool_view(*endpoints: str | Endpoint, draining: Iterable[str] = (), balancing: LoadBalancing = DEFAULT) -> PoolView:
    """A PoolView with an :func:`endpoint_set`."""
    return PoolView(endpoint_set(*endpoints, draining=draining), balancing)


def _metadata(
    kind: str,
    name: str,
    namespace: str,
    uid: str = "",
    resource_version: int = 41,
    labels: Mapping[str, str] | None = None,
) -> Document:
    return {
        "namespace": namespace,
        "name": name,
        "uid": uid or f"uid-{kind}-{namespace}-{name}",
        "resourceVersion": str(resource_version),
        **({} if labels is None else {"labels": dict(labels)}),
    }

"""Builders of EndpointSlices, as the EndpointSlice controller writes them."""

from __future__ import annotations

from typing import Any

from backendpool.api.endpoint_slices import parse_slice, union
from backendpool.api.endpoints import Endpoint

Document = dict[str, Any]


def backend(
    address: str = "10.0.0.1", uid: str = "u1", conditions: dict[str, bool | None] | None = None, **fields: Any
) -> Document:
    """One endpoint of a slice, as the cluster writes it for a pod."""
    target = {"kind": "Pod", "name": f"pod-{uid}", "namespace": "default", "uid": uid}
    return {"addresses": [address], "conditions": conditions or {}, "targetRef": target, **fields}


def document(
    *endpoints: Document, name: str = "s1", family: str = "IPv4", ports: list[Document] | None = None
) -> Document:
    """An EndpointSlice of the Service ``greetserver``."""
    return {
        "metadata": {
            "namespace": "default",
            "name": name,
            "labels": {"kubernetes.io/service-name": "greetserver"},
        },
        "addressType": family,
        "endpoints": list(endpoints),
        "ports": [{"name": "grpc", "port": 50051, "protocol": "TCP"}] if ports is None else ports,
    }


def backends_of(*documents: Document) -> tuple[Endpoint, ...]:
    return union(map(parse_slice, documents)).endpoints

"""Builders of Kubernetes objects, as the API server returns them.

Each argument has a default, so that a test names only the fields that it is about. Without ``uid``, an object gets one
that is derived from its kind, namespace and name: a recreated object needs another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from backendpool.api.conditions import ChildrenStatus
from backendpool.api.constants import API_VERSION, KIND
from backendpool.api.endpoints import Endpoint, EndpointSet
from backendpool.api.pool import Pool, parse_pool
from backendpool.api.status import build_status

Document: TypeAlias = dict[str, Any]
"""A JSON object."""

SELECTOR: Final = {"run": "greetserver"}


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
    """The parsed :func:`pool`."""
    return parse_pool(pool(name, **fields))


def reconciled_pool(endpoints: Iterable[Endpoint], name: str = "greetserver", **fields: Any) -> Document:
    """A :func:`pool` with the status that the operator writes for these endpoints."""
    obj = pool(name, **fields)
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    return obj | {"status": build_status(parse_pool(obj), EndpointSet.of(endpoints), ChildrenStatus(applied=True), now)}


def _metadata(kind: str, name: str, namespace: str, uid: str, resource_version: int) -> Document:
    return {
        "namespace": namespace,
        "name": name,
        "uid": uid or f"uid-{kind}-{namespace}-{name}",
        "resourceVersion": str(resource_version),
    }

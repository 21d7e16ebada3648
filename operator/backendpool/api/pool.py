"""A GrpcBackendPool: :class:`Pool` as the API server holds it, :class:`PoolView` as clients see it. Pure.

The metadata of a ``Pool`` is what the operator needs to write safely: the uid that children are owned by, the
generation that a status answers, the resource version that a status write is bound to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from backendpool.api.constants import lookaside_name
from backendpool.api.endpoints import EndpointSet
from backendpool.api.load_balancing import DEFAULT, LoadBalancing
from backendpool.api.spec import PoolSpec, parse_spec
from backendpool.errors import SpecError

PoolKey: TypeAlias = tuple[str, str]
"""Namespace and name of a pool."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool; ``spec`` is the :class:`SpecError` itself where it cannot be acted on.

    A bad spec is a value, not an exception, because it is something to tell the author in the status.
    """

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    spec: PoolSpec | SpecError
    status: Mapping[str, Any] = field(default_factory=dict)
    deleting: bool = False
    """Deletion has begun, and waits for the children (``--cascade=foreground``): make none anew."""

    @property
    def key(self) -> PoolKey:
        """Namespace and name, as caches and queues know it."""
        return (self.namespace, self.name)

    @property
    def unexpected(self) -> BaseException | None:
        """The bug that kept the spec from being read, if one did."""
        return self.spec.__cause__ if isinstance(self.spec, SpecError) else None

    def valid_spec(self) -> PoolSpec:
        """The spec to act on; raises :class:`SpecError` where there is none."""
        if isinstance(self.spec, SpecError):
            raise SpecError(self.spec.field, self.spec.problem)
        return self.spec


@dataclass(frozen=True, slots=True)
class PoolView:
    """A pool's endpoints at one moment, and how its author wants calls to be spread over them."""

    endpoints: EndpointSet
    balancing: LoadBalancing = DEFAULT


def lookaside_target(pool: Pool) -> str:
    """Host and port of the pool's lookaside; raises :class:`SpecError` where the spec is bad."""
    return f"{lookaside_name(pool.name)}.{pool.namespace}.svc:{pool.valid_spec().lookaside.port}"


def xds_target(pool: Pool) -> str:
    """The target that gRPC's xDS clients connect to."""
    return f"xds:///{pool.name}.{pool.namespace}"


def parse_pool(obj: Mapping[str, Any]) -> Pool:
    """Read a GrpcBackendPool as the API server sends it; a bad spec does not fail it."""
    meta = obj["metadata"]
    return Pool(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        generation=meta.get("generation", 0),
        resource_version=meta.get("resourceVersion", ""),
        spec=_spec_or_error(obj.get("spec")),
        status=_status(obj.get("status")),
        deleting=bool(meta.get("deletionTimestamp")),
    )


def _spec_or_error(spec: object) -> PoolSpec | SpecError:
    try:
        return parse_spec(spec)
    except SpecError as error:
        return error
    # A bug in the parser must not hide the pool: the reconciler raises it from ``unexpected``.
    except Exception as error:  # noqa: BLE001
        unreadable = SpecError("spec", f"cannot be read ({error!r})")
        unreadable.__cause__ = error
        return unreadable


def _status(value: object) -> Mapping[str, Any]:
    """The status, less the conditions that are none, which only a cluster without our schema can hold."""
    if not isinstance(value, Mapping):
        return {}
    conditions = value.get("conditions") or []
    sound = [one for one in conditions if _is_condition(one)] if isinstance(conditions, list) else []
    return value if sound == conditions else {**value, "conditions": sound}


def _is_condition(value: object) -> bool:
    fields = ("type", "status", "reason", "message")
    return isinstance(value, Mapping) and all(isinstance(value.get(field), str) for field in fields)

"""A GrpcBackendPool: :class:`Pool` as stored by the API server, :class:`PoolView` as clients see it. Pure.

A ``Pool`` has the metadata that safe writes need: the uid of its children's owner, the generation that a status
answers, and the resource version that a status write is bound to.
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
    """A pool. If its spec is invalid, ``spec`` is the :class:`SpecError`.

    An invalid spec is a value and not an exception, because the status must report it.
    """

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    spec: PoolSpec | SpecError
    status: Mapping[str, Any] = field(default_factory=dict)
    deleting: bool = False
    """In foreground deletion, which waits for the children: they must not be created again."""

    @property
    def key(self) -> PoolKey:
        """Namespace and name."""
        return (self.namespace, self.name)

    @property
    def unexpected(self) -> BaseException | None:
        """The unexpected error of the parser, if any."""
        return self.spec.__cause__ if isinstance(self.spec, SpecError) else None

    def valid_spec(self) -> PoolSpec:
        """Return the spec; raises :class:`SpecError` if it is invalid."""
        if isinstance(self.spec, SpecError):
            raise SpecError(self.spec.field, self.spec.problem)
        return self.spec


@dataclass(frozen=True, slots=True)
class PoolView:
    """The endpoints of a pool at one moment, and its load balancing."""

    endpoints: EndpointSet
    balancing: LoadBalancing = DEFAULT


def lookaside_target(pool: Pool) -> str:
    """Return ``host:port`` of the pool's lookaside; raises :class:`SpecError` if the spec is invalid."""
    return f"{lookaside_name(pool.name)}.{pool.namespace}.svc:{pool.valid_spec().lookaside.port}"


def xds_target(pool: Pool) -> str:
    """Return the target of xDS clients."""
    return f"xds:///{pool.name}.{pool.namespace}"


def parse_pool(obj: Mapping[str, Any]) -> Pool:
    """Parse a GrpcBackendPool of the API server. An invalid spec is no error."""
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
        unreadable = SpecError("spec", f"cannot be parsed ({error!r})")
        unreadable.__cause__ = error
        return unreadable


def _status(value: object) -> Mapping[str, Any]:
    """Return the status without malformed conditions, which only a cluster without our schema accepts."""
    if not isinstance(value, Mapping):
        return {}
    conditions = value.get("conditions") or []
    sound = [one for one in conditions if _is_condition(one)] if isinstance(conditions, list) else []
    return value if sound == conditions else {**value, "conditions": sound}


def _is_condition(value: object) -> bool:
    fields = ("type", "status", "reason", "message")
    return isinstance(value, Mapping) and all(isinstance(value.get(field), str) for field in fields)

"""One GrpcBackendPool as the API server holds it, typed. Pure, no I/O.

The metadata is what the operator needs to write safely: the uid that children are owned by, the generation
that a status answers, the resource version that a status write is bound to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backendpool.errors import SpecError
from backendpool.spec import PoolSpec, parse_spec


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
    def key(self) -> tuple[str, str]:
        """Namespace and name, as caches and queues know it."""
        return (self.namespace, self.name)

    def valid_spec(self) -> PoolSpec:
        """The spec to act on; raises :class:`SpecError` where there is none."""
        if isinstance(self.spec, SpecError):
            raise SpecError(self.spec.field, self.spec.problem)
        return self.spec


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
        status=obj.get("status") or {},
        deleting=bool(meta.get("deletionTimestamp")),
    )


def _spec_or_error(spec: object) -> PoolSpec | SpecError:
    try:
        return parse_spec(spec)
    except SpecError as error:
        return error

"""The desired state of a pool's children. Pure.

All children are namespaced, owned by the pool (so that deleting it needs no finalizer) and applied by server-side
apply, so a manifest has only the fields that the operator manages. Fields whose zero value the API server drops are
left out: they would always look like drift.
"""

from __future__ import annotations

from typing import Final

from backendpool.api.constants import BACKENDS, GROUP, PLURAL, reader_name
from backendpool.api.pool import Pool
from backendpool.api.spec import PoolSpec
from backendpool.children.lookaside import lookaside
from backendpool.children.manifest import Child, grant, headless_service, service_port, with_digest

HEADLESS_PORT: Final = 50051
"""The Service's port if ``spec.port`` is a name. A headless Service does not translate ports, so the number does not
matter; it is the one of gRPC's examples."""


def children(pool: Pool, image: str) -> tuple[Child, ...]:
    """Return all children of ``pool``, in the order to create them; raises SpecError for an invalid spec.

    Referenced objects come first. Those that run pods come last, when every name is known to be the pool's. ``image``
    is that of the lookaside's pods.
    """
    spec = pool.valid_spec()
    return tuple(
        map(with_digest, (_backends(pool, spec), *_reader(pool, spec), *lookaside(pool, spec.lookaside, image)))
    )


def _backends(pool: Pool, spec: PoolSpec) -> Child:
    number = spec.port if isinstance(spec.port, int) else HEADLESS_PORT
    port = service_port(number, spec.port)
    return headless_service(pool, pool.name, BACKENDS, spec.selector, port, ipFamilyPolicy="SingleStack")


def _reader(pool: Pool, spec: PoolSpec) -> tuple[Child, ...]:
    if not spec.readers:
        return ()
    rule = {
        "apiGroups": [GROUP],
        "resources": [PLURAL],
        "resourceNames": [pool.name],
        "verbs": ["get", "list", "watch"],
    }
    return grant(pool, reader_name(pool.name), "reader", [rule], spec.readers)

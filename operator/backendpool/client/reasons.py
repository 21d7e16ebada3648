"""Why no backend takes a call, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from backendpool.api.endpoints import Endpoint
from backendpool.errors import NoBackendError


class PickTimeout(NoBackendError):
    """No backend took calls before the deadline."""


def unreachable(pool: str, endpoints: Sequence[Endpoint]) -> str:
    """None of them can be connected to."""
    some = ", ".join(endpoint.target for endpoint in endpoints[:3])
    return (
        f"none of the {len(endpoints)} backends of {pool} can be connected to ({some}): "
        "check that they listen on the pool's port, and that no NetworkPolicy is in the way"
    )


def absent(pool: str) -> str:
    """There is no list of endpoints."""
    if pool.startswith("/"):
        return f"there is no file {pool} that can be read: write one, or give its right path"
    return (
        f"there is no pool {pool} that may be read: apply a GrpcBackendPool of that name, with this client's service "
        "account among its spec.readers"
    )


def empty(pool: str) -> str:
    """There is a list, and nothing in it."""
    namespace, _, name = pool.rpartition("/")
    advice = f": see kubectl describe gbp {name} -n {namespace}" if namespace and not pool.startswith("/") else ""
    return f"the pool {pool} has no endpoint{advice}"

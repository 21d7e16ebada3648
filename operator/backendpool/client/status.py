"""What a client sees of a pool, at one moment, and why no backend takes a call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backendpool.api.endpoints import Endpoint
from backendpool.api.pool import PoolView
from backendpool.client.subchannel import Backend, Connection


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """One backend. The counts begin with its place in the pool; ``under_way`` is None where calls are not watched.

    ``picked`` counts the attempts at calls that were sent to it, ``failed`` those of them that failed.
    """

    endpoint: Endpoint
    connection: Connection
    ejected: bool
    under_way: int | None
    picked: int
    failed: int
    ejections: int
    connections: int


@dataclass(frozen=True, slots=True)
class Status:
    """A pool; ``age`` is how many seconds ago its list was last known to be current, infinite before it was known.

    ``problem`` is why it cannot be followed at the moment, None where it is. ``settled`` says whether it was read, or
    found missing, and each of its backends tried: calls before that may find less than the whole pool. ``picked`` and
    ``failed`` count for all backends that ever were. ``view`` is what was told last, and None where nothing was, or
    there is no pool that may be read; ``backends`` are those of it that are used.
    """

    pool: str
    age: float
    problem: Exception | None
    settled: bool
    picked: int
    failed: int
    view: PoolView | None
    backends: tuple[BackendStatus, ...]


def status_of(backend: Backend, ejected: bool) -> BackendStatus:
    """What is known of ``backend``, which the selection says is ``ejected`` or not."""
    return BackendStatus(
        endpoint=backend.endpoint,
        connection=backend.connection,
        ejected=ejected,
        under_way=backend.under_way if backend.observer is not None else None,
        picked=backend.picked,
        failed=backend.failed,
        ejections=backend.ejections,
        connections=backend.connections,
    )


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

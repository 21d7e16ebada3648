"""A client's view of its pool: a snapshot for programs, and the error messages when no backend takes a call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backendpool.api.endpoints import Endpoint
from backendpool.api.pool import PoolView
from backendpool.client._subchannel import Connection, Subchannel


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """One backend, counted since it joined the pool.

    ``calls_started`` counts the attempts that were sent to it, ``calls_failed`` those that failed. ``in_flight`` is
    None if the policy needs no count of the calls in flight.
    """

    endpoint: Endpoint
    connection: Connection
    ejected: bool
    in_flight: int | None
    calls_started: int
    calls_failed: int
    ejections: int
    connections: int


@dataclass(frozen=True, slots=True)
class Status:
    """A pool.

    ``age`` is the seconds since the endpoints were last known to be current, infinite before that. ``problem`` is why
    the pool cannot be followed at the moment, or None. ``initialized`` is True once the pool was read or found missing
    and each backend was tried; calls before that may see only a part of the pool. ``calls_started`` and
    ``calls_failed`` count attempts on all backends that the pool ever had. ``view`` is the last update, None before the
    first and if no pool may be read; ``backends`` are those of its endpoints that are used.
    """

    pool: str
    age: float
    problem: Exception | None
    initialized: bool
    calls_started: int
    calls_failed: int
    view: PoolView | None
    backends: tuple[BackendStatus, ...]


def status_of(backend: Subchannel, ejected: bool) -> BackendStatus:
    """Return the status of ``backend``."""
    return BackendStatus(
        endpoint=backend.endpoint,
        connection=backend.connection,
        ejected=ejected,
        in_flight=backend.in_flight if backend.observer is not None else None,
        calls_started=backend.calls_started,
        calls_failed=backend.calls_failed,
        ejections=backend.ejections,
        connections=backend.connections,
    )


def unreachable(pool: str, endpoints: Sequence[Endpoint]) -> str:
    """Say that no endpoint can be connected to."""
    some = ", ".join(endpoint.target for endpoint in endpoints[:3])
    return (
        f"none of the {len(endpoints)} backends of {pool} accepts a connection ({some}): "
        "check that they listen on the pool's port and that no NetworkPolicy blocks them"
    )


def absent(pool: str) -> str:
    """Say that there is no list of endpoints."""
    if pool.startswith("/"):
        return f"file {pool} cannot be read: create it or correct the path"
    return (
        f"there is no pool {pool} that may be read: apply a GrpcBackendPool of that name, with this client's service "
        "account among its spec.readers"
    )


def empty(pool: str) -> str:
    """Say that the list of endpoints is empty."""
    namespace, _, name = pool.rpartition("/")
    advice = f": see kubectl describe gbp {name} -n {namespace}" if namespace and not pool.startswith("/") else ""
    return f"the pool {pool} has no endpoint{advice}"

"""``backendpool endpoints``: print a pool as a client on this machine sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, NoReturn

from backendpool.api.endpoints import EndpointState
from backendpool.client._channel import PoolChannel
from backendpool.client._status import BackendStatus, Status, absent
from backendpool.client._subchannel import Connection
from backendpool.errors import NoBackendError, SourceError

_CONNECTED: Final = {Connection.CONNECTED: "yes", Connection.CONNECTING: "not yet", Connection.FAILED: "no"}

_COLUMNS: Final[dict[str, Callable[[BackendStatus], str]]] = {
    "ADDRESS": lambda backend: backend.endpoint.target,
    "POD": lambda backend: backend.endpoint.pod_name,
    "ZONE": lambda backend: backend.endpoint.zone,
    "STATE": lambda backend: backend.endpoint.state,
    "CONNECTED": lambda backend: _CONNECTED[backend.connection],
    "CALLS": lambda backend: "" if backend.in_flight is None else str(backend.in_flight),
    "EJECTED": lambda backend: "yes" if backend.ejected else "no",
}

_PAUSE: Final = 0.1
"""Seconds; changes within them are printed as one, such as the first connections."""


def listing(status: Status) -> str:
    """Return a table of the backends and a summary line with the age; a sentence if there is no pool."""
    return f"{_table(status)}; {status.age:.1f} s old" if status.view is not None else _table(status)


async def look(channel: PoolChannel, *, timeout: float) -> str:
    """Return the listing once each backend was tried, at the latest after ``timeout`` seconds.

    Raises the resolver's problem, or :class:`~backendpool.errors.NoBackendError` if there is no pool.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            while not channel.status().initialized:
                await channel.wait_for_change()
    status = channel.status()
    if status.view is not None:
        return listing(status)
    if status.problem is not None:
        raise status.problem
    if status.initialized:
        raise NoBackendError(absent(status.pool))
    raise SourceError(f"{status.pool}: no response within {timeout:g} s")


async def follow(channel: PoolChannel, show: Callable[[str], None]) -> NoReturn:
    """Show the listing at each change, until cancelled."""
    shown = ""
    while True:
        status = channel.status()
        if (table := _table(status)) != shown:
            shown = table
            show(f"{listing(status)}\n")
        await channel.wait_for_change()
        await asyncio.sleep(_PAUSE)


def _table(status: Status) -> str:
    """Return the listing without its age; empty while the pool is unknown."""
    if status.view is None:
        return absent(status.pool) if status.initialized else ""
    rows = [tuple(read(backend) or "-" for read in _COLUMNS.values()) for backend in status.backends]
    states = [backend.endpoint.state for backend in status.backends]
    counts = f"{states.count(EndpointState.READY)} ready, {states.count(EndpointState.DRAINING)} draining"
    more = ", and more that are not in the status" if status.view.endpoints.truncated else ""
    return f"{_aligned([tuple(_COLUMNS), *rows])}\n{counts}{more}; {status.view.balancing.policy}"


def _aligned(rows: Iterable[Sequence[str]]) -> str:
    columns = [[f"{cell:<{max(map(len, column))}}" for cell in column] for column in zip(*rows, strict=True)]
    return "\n".join("   ".join(row).rstrip() for row in zip(*columns, strict=True))

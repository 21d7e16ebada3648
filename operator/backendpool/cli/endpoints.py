"""What a client sees of a pool, for people to read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, NoReturn

from backendpool.api.endpoints import EndpointState
from backendpool.client.channel import PoolChannel
from backendpool.client.status import BackendStatus, Status, absent
from backendpool.client.subchannel import Connection
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
"""Seconds in which changes become one, such as the first connections to a pool's backends."""


def listing(status: Status) -> str:
    """A line for each backend, and one for all of them with its age; where there is no pool, a sentence."""
    return f"{_seen(status)}; {status.age:.1f} s old" if status.view is not None else _seen(status)


async def look(channel: PoolChannel, *, timeout: float) -> str:
    """The listing of ``channel``, once each backend was tried, or as far as it has come in ``timeout`` seconds.

    Raises the source's problem, or :class:`~backendpool.errors.NoBackendError` where there is no pool.
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
    raise SourceError(f"{status.pool}: nothing was told within {timeout:g} s")


async def follow(channel: PoolChannel, show: Callable[[str], None]) -> NoReturn:
    """Show the listing of ``channel`` as soon as something is known, and at each change, until cancelled."""
    shown = ""
    while True:
        status = channel.status()
        if (seen := _seen(status)) != shown:
            shown = seen
            show(f"{listing(status)}\n")
        await channel.wait_for_change()
        await asyncio.sleep(_PAUSE)


def _seen(status: Status) -> str:
    """All but the age, and nothing while nothing is known."""
    if status.view is None:
        return absent(status.pool) if status.initialized else ""
    rows = [tuple(read(backend) or "-" for read in _COLUMNS.values()) for backend in status.backends]
    states = [backend.endpoint.state for backend in status.backends]
    counts = f"{states.count(EndpointState.READY)} ready, {states.count(EndpointState.DRAINING)} draining"
    more = ", and more that its status does not list" if status.view.endpoints.truncated else ""
    return f"{_aligned([tuple(_COLUMNS), *rows])}\n{counts}{more}; {status.view.balancing.policy}"


def _aligned(rows: Iterable[Sequence[str]]) -> str:
    columns = [[f"{cell:<{max(map(len, column))}}" for cell in column] for column in zip(*rows, strict=True)]
    return "\n".join("   ".join(row).rstrip() for row in zip(*columns, strict=True))

"""What all calls of a channel share: the backends, the calls that wait for one, and the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NoReturn, Protocol

import grpc.aio

from backendpool.client.balancer import Balancer
from backendpool.client.silence import Silence
from backendpool.client.subchannel import Subchannel

CLOSED: Final = "Channel is closed."
"""grpc.aio's own words."""


class Waiting(Protocol):
    """A call that no backend has."""

    async def wait(self) -> None:
        """Until a backend has it, or it has ended."""

    def cancel(self) -> bool: ...


class Dispatcher:
    """Hands the backends of ``balancer`` to calls, until it is closed.

    ``pick_now`` is the balancer's own, for a call that has to go through one more function costs more for it than for
    the pick; it raises :class:`grpc.aio.UsageError` once this is closed.
    """

    def __init__(self, balancer: Balancer) -> None:
        self.balancer = balancer
        self.pick_now: Callable[..., Subchannel | None] = balancer.pick_now
        self.waiting: set[Waiting] = set()
        self.silence = Silence()
        self.closed = False

    async def close(self, grace: float | None) -> None:
        """Take no new calls; those under way, and those that wait, have ``grace`` seconds more."""
        if self.closed:
            return
        self.closed, self.pick_now = True, _refuse
        clock = asyncio.get_running_loop().time
        end = clock() + (grace or 0.0)
        if grace and self.waiting:
            await asyncio.wait([asyncio.ensure_future(call.wait()) for call in self.waiting], timeout=grace)
        for call in tuple(self.waiting):
            call.cancel()
        await self.balancer.aclose(max(0.0, end - clock()))


def _refuse(*_: object) -> NoReturn:
    raise grpc.aio.UsageError(CLOSED)

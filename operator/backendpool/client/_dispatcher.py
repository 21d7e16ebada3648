"""What all calls of a channel share: the balancer, the stall timer, and closing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NoReturn, Protocol

import grpc.aio

from backendpool.client._balancer import Balancer
from backendpool.client._stall_timer import StallTimer
from backendpool.client._subchannel import Subchannel

CLOSED: Final = "Channel is closed."
"""grpc.aio's own words."""


class Waiting(Protocol):
    """A call that is not sent yet."""

    async def wait_until_sent(self) -> None:
        """Wait until it was sent or has ended."""

    def cancel(self) -> bool: ...


class Dispatcher:
    """Gives the backends of ``balancer`` to calls, until it is closed. Must be created in a running event loop.

    ``pick_now`` is the balancer's own, since a wrapper would cost a call more than the pick; once this is closed, it
    raises :class:`grpc.aio.UsageError`. ``waiting`` are the calls that are not sent yet.
    """

    def __init__(self, balancer: Balancer) -> None:
        self.balancer = balancer
        self.pick_now: Callable[..., Subchannel | None] = balancer.pick_now
        self.waiting: set[Waiting] = set()
        self.stall_timer = StallTimer(asyncio.get_running_loop().call_later)
        self.closed = False

    async def close(self, grace: float | None) -> None:
        """Accept no new calls; those in flight and those that wait may end within ``grace`` seconds."""
        if self.closed:
            return
        self.closed, self.pick_now = True, _raise_closed
        clock = asyncio.get_running_loop().time
        end = clock() + (grace or 0.0)
        if grace and self.waiting:
            sent = [asyncio.ensure_future(call.wait_until_sent()) for call in self.waiting]
            await asyncio.wait(sent, timeout=grace)
        for call in tuple(self.waiting):
            call.cancel()
        await self.balancer.aclose(max(0.0, end - clock()))


def _raise_closed(*_: object) -> NoReturn:
    raise grpc.aio.UsageError(CLOSED)

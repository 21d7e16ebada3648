"""The latest of something, told to many streams: each at its own pace, and none at the cost of another.

A stream that is slow is told the latest when it is ready for it, and misses what is no longer so. Nothing is queued for
it: what waits on its behalf is the one message that it does not read, and after a while it is given up.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Generic, TypeVar

from grpc import StatusCode
from grpc.aio import ServicerContext

T = TypeVar("T")

log = logging.getLogger(__name__)

_PATIENCE: Final = 10.0


class Follower:
    """One stream; ``leaving`` says that it is to end."""

    __slots__ = ("_context", "_patience", "_woken", "leaving")

    def __init__(self, context: ServicerContext[Any, bytes], patience: float) -> None:
        self.leaving = False
        self._context = context
        self._patience = patience
        self._woken = asyncio.Event()
        self.wake()  # for what there is already

    def wake(self) -> None:
        """There is something new."""
        self._woken.set()

    def leave(self) -> None:
        """End it, in good order: its client comes again, by another connection."""
        self.leaving = True
        self.wake()

    async def woken(self, timeout: float | None = None) -> None:
        """Wait until there is something new, for at most ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._woken.wait()
        except TimeoutError:
            return
        self._woken.clear()

    async def tell(self, message: bytes) -> None:
        """Send ``message``, when the client has made room for it."""
        try:
            async with asyncio.timeout(self._patience):
                await self._context.write(message)
        except TimeoutError:
            raise _Stuck from None


class _Stuck(Exception):
    """The client does not read."""


class Broadcast(Generic[T]):
    """``latest`` is what followers are to have; None as long as nothing is known.

    A client that reads nothing for ``patience`` seconds, though there is something for it, is given up.
    """

    def __init__(self, patience: float = _PATIENCE) -> None:
        self.latest: T | None = None
        self._patience = patience
        self._followers: set[Follower] = set()

    def __len__(self) -> int:
        """Streams that are open."""
        return len(self._followers)

    def publish(self, item: T) -> None:
        """Have all followers told of ``item``, and no more of what was before it."""
        self.latest = item
        for follower in self._followers:
            follower.wake()

    @asynccontextmanager
    async def follower(self, context: ServicerContext[Any, bytes]) -> AsyncIterator[Follower]:
        """The stream of ``context``, a follower as long as it is in the body of this."""
        follower = Follower(context, self._patience)
        self._followers.add(follower)
        try:
            yield follower
        except _Stuck:
            self._followers.discard(follower)
            log.warning("%s reads nothing: given up after %g s", context.peer(), self._patience)
            # This waits for the client as well, which hears of it when it reads on, or when its connection ends.
            advice = f"nothing was read for {self._patience:g} s: read what comes, and call again"
            await context.abort(StatusCode.RESOURCE_EXHAUSTED, advice)
        finally:
            self._followers.discard(follower)

    def disband(self, seconds: float) -> None:
        """End all streams within that time, each at a moment of its own, so that their clients do not all come back
        at once."""
        loop = asyncio.get_running_loop()
        for follower in self._followers:
            loop.call_later(random.uniform(0.0, seconds), follower.leave)

"""Publish the latest item to many streams, each at its own pace.

A slow stream skips to the latest item when it can send again. At most one message is queued for it, and it is aborted
after a timeout, so that a client that does not read costs no memory and delays no other.
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

_SEND_TIMEOUT: Final = 10.0


class _SendTimeout(Exception):
    """The client does not read."""


class Subscriber:
    """One stream of a topic. ``closing`` is True once the stream must end."""

    __slots__ = ("_context", "_send_timeout", "_woken", "closing")

    def __init__(self, context: ServicerContext[Any, bytes], send_timeout: float) -> None:
        self.closing = False
        self._context = context
        self._send_timeout = send_timeout
        self._woken = asyncio.Event()
        self.wake()  # set: there may be an item already

    def wake(self) -> None:
        """Make the current or the next :meth:`wait` return."""
        self._woken.set()

    def close(self) -> None:
        """End the stream with status OK; its client reconnects."""
        self.closing = True
        self.wake()

    async def wait(self, timeout: float | None = None) -> None:
        """Wait for a new item, at most ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._woken.wait()
        except TimeoutError:
            return
        self._woken.clear()

    async def send(self, message: bytes) -> None:
        """Send ``message``; waits for flow control."""
        try:
            async with asyncio.timeout(self._send_timeout):
                await self._context.write(message)
        except TimeoutError:
            raise _SendTimeout from None


class Topic(Generic[T]):
    """Publishes the ``latest`` item, None before the first, to its subscribers.

    A stream whose client reads nothing for ``send_timeout`` seconds is aborted.
    """

    def __init__(self, send_timeout: float = _SEND_TIMEOUT) -> None:
        self.latest: T | None = None
        self._send_timeout = send_timeout
        self._subscribers: set[Subscriber] = set()

    def __len__(self) -> int:
        """Return the number of open streams."""
        return len(self._subscribers)

    def publish(self, item: T) -> None:
        """Replace the latest item and wake all subscribers."""
        self.latest = item
        for subscriber in self._subscribers:
            subscriber.wake()

    @asynccontextmanager
    async def subscribe(self, context: ServicerContext[Any, bytes]) -> AsyncIterator[Subscriber]:
        """Subscribe the stream of ``context`` until the body ends."""
        subscriber = Subscriber(context, self._send_timeout)
        self._subscribers.add(subscriber)
        try:
            yield subscriber
        except _SendTimeout:
            self._subscribers.discard(subscriber)
            log.warning(
                "Client reads nothing, aborting its stream",
                extra={"peer": context.peer(), "timeout_seconds": self._send_timeout},
            )
            # This too waits for the client, which sees the status when it reads again or when its connection ends.
            advice = f"the client read nothing for {self._send_timeout:g} s: read every response, and reconnect"
            await context.abort(StatusCode.RESOURCE_EXHAUSTED, advice)
        finally:
            self._subscribers.discard(subscriber)

    def close_all(self, seconds: float) -> None:
        """Close each stream at a random moment within ``seconds``, so that clients do not reconnect all at once."""
        loop = asyncio.get_running_loop()
        for subscriber in self._subscribers:
            loop.call_later(random.uniform(0.0, seconds), subscriber.close)

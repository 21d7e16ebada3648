"""Requests of a stream that are written one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from backendpool.client.ended import HALF_CLOSED


class RequestWriter(AsyncIterator[Any]):
    """An iterator over written requests, as interceptors expect it. ``ended`` is set once no more will be written."""

    def __init__(self) -> None:
        self.ended = False
        self._written: asyncio.Queue[tuple[Any, asyncio.Future[bool]] | None] = asyncio.Queue()
        self._not_sent: set[asyncio.Future[bool]] = set()
        self._last: asyncio.Future[bool] | None = None

    async def put(self, request: Any) -> bool:
        """Wait until ``request`` is sent; returns False if the call ended before.

        Raises :class:`asyncio.InvalidStateError` once ``ended`` is set.
        """
        if self.ended:
            raise asyncio.InvalidStateError(HALF_CLOSED)
        sent: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._not_sent.add(sent)
        self._written.put_nowait((request, sent))
        return await sent

    def end(self) -> None:
        """End the iterator after the requests that were put."""
        self._written.put_nowait(None)

    def close(self) -> None:
        """Wake all :meth:`put` that wait: the call has ended."""
        for sent in self._not_sent:
            if not sent.done():
                sent.set_result(False)

    async def __anext__(self) -> Any:
        # grpc.aio asks for the next request once the previous one is sent.
        if self._last is not None:
            self._not_sent.discard(self._last)
            if not self._last.done():
                self._last.set_result(True)
        written = await self._written.get()
        if written is None:
            raise StopAsyncIteration
        request, self._last = written
        return request

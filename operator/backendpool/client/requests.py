"""Requests of a stream that may have to be sent twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_NONE: Final = object()


class Requests(Generic[T]):
    """``source``, which may be begun anew until it is ``spent``.

    grpc.aio takes the first request before there is a connection, and asks for the second once the first was sent.
    So the first is kept, and the request for the second says that the call has left.
    """

    __slots__ = ("_first", "_one_at_a_time", "_source", "spent")

    def __init__(self, source: AsyncIterable[T] | Iterable[T]) -> None:
        self.spent = False
        self._source = aiter(source if isinstance(source, AsyncIterable) else _each(source))
        self._first: T | object = _NONE
        # A call that has failed may still wait for the first request when the next one asks for it.
        self._one_at_a_time = asyncio.Lock()

    async def __aiter__(self) -> AsyncIterator[T]:
        async with self._one_at_a_time:
            if self._first is _NONE:
                self._first = await anext(self._source, _NONE)
        if self._first is _NONE:
            return
        yield self._first  # type: ignore[misc]
        self.spent = True
        async for request in self._source:
            yield request


async def _each(items: Iterable[T]) -> AsyncIterator[T]:
    for item in items:
        yield item

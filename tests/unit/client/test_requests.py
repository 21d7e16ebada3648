"""Requests of a stream that may have to be sent twice."""

import asyncio
from collections.abc import AsyncIterator

from backendpool.client.requests import Requests


async def test_first_request_is_given_again() -> None:
    """As long as only the first was asked for, a second reader has all."""
    requests = Requests([1, 2, 3])
    assert await anext(aiter(requests)) == 1
    assert not requests.spent
    assert [request async for request in requests] == [1, 2, 3]


async def test_spent_with_the_second() -> None:
    """Whoever asks for more than one has spent it."""
    requests = Requests([1, 2])
    reader = aiter(requests)
    await anext(reader)
    await anext(reader)
    assert requests.spent


async def test_two_readers_wait_for_one_request() -> None:
    """A reader that was given up may still wait for the first request, which comes once for both."""
    came = asyncio.Event()

    async def source() -> AsyncIterator[int]:
        await came.wait()
        yield 1

    requests = Requests(source())
    readers = [asyncio.ensure_future(anext(aiter(requests))) for _ in range(2)]
    await asyncio.sleep(0)
    came.set()
    assert await asyncio.gather(*readers) == [1, 1]


async def test_none_at_all() -> None:
    """A stream of no requests is one for the second reader too."""
    requests: Requests[int] = Requests(())
    for _ in range(2):
        assert [request async for request in requests] == []

"""FakePool, the pool for tests of users."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import grpc
import pytest
from grpc.aio import AioRpcError

from backendpool.client import EmptyPolicy, Endpoint, LoadBalancing, PoolChannel, connect
from backendpool.testing import FakePool

METHOD = "/test.Who/Are"


class Named:
    """Registers servers that answer with their number; ``held`` holds calls until it is set."""

    def __init__(self) -> None:
        self.count = 0
        self.called = asyncio.Event()
        self.held: asyncio.Event | None = None

    def __call__(self, server: grpc.aio.Server) -> None:
        name = str(self.count)
        self.count += 1

        async def answer(request: bytes, context: Any) -> bytes:
            self.called.set()
            if self.held is not None:
                await self.held.wait()
            return name.encode()

        handler: Any = grpc.unary_unary_rpc_method_handler(answer)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Who", {"Are": handler}),))


async def shares(channel: PoolChannel, calls: int) -> Counter[str]:
    who: Any = channel.unary_unary(METHOD)
    return Counter([(await who(b"", timeout=5)).decode() for _ in range(calls)])


async def test_servers_share_calls() -> None:
    """Calls are spread over all servers."""
    async with FakePool(Named(), count=3) as pool, connect(pool) as channel:
        await pool.wait_until_connected(channel)
        assert await shares(channel, 9) == {"0": 3, "1": 3, "2": 3}


async def test_scaled_pool_is_followed() -> None:
    """New servers take calls, and removed ones do not."""
    async with FakePool(Named(), count=1) as pool, connect(pool) as channel:
        for count in (3, 2, 0, 1):
            await pool.scale(count)
            await pool.wait_until_connected(channel)
            assert len(pool.endpoints) == len(channel.status().backends) == count
        assert await shares(channel, 2) == {"3": 2}


async def test_draining_server_finishes_its_calls() -> None:
    """A draining server gets no new calls and finishes those in flight, even once removed."""
    named = Named()
    async with FakePool(named, count=1) as pool, connect(pool) as channel:
        who: Any = channel.unary_unary(METHOD)
        held = named.held = asyncio.Event()
        under_way = asyncio.ensure_future(who(b"", timeout=10))
        await named.called.wait()
        named.held = None
        await pool.scale(2)
        pool.drain(0)
        await pool.wait_until_connected(channel)
        assert await shares(channel, 4) == {"1": 4}
        pool.set(pool.endpoints[1:])
        await pool.wait_until_connected(channel)
        held.set()
        assert await under_way == b"0"


async def test_killed_server_is_listed_still() -> None:
    """Killing a server fails its calls in flight, and later calls go elsewhere, while it stays listed."""
    named = Named()
    async with FakePool(named, count=1) as pool, connect(pool) as channel:
        who: Any = channel.unary_unary(METHOD)
        named.held = asyncio.Event()
        under_way = asyncio.ensure_future(who(b"", timeout=10))
        await named.called.wait()
        named.held = None
        await pool.scale(2)
        await pool.wait_until_connected(channel)
        await pool.kill(0)
        with pytest.raises(AioRpcError):
            await under_way
        assert len(pool.endpoints) == 2
        assert await shares(channel, 4) == {"1": 4}


async def test_pool_without_servers_is_what_it_is_told() -> None:
    """A pool without servers has the endpoints and load balancing that a test sets."""
    pool, endpoint = FakePool(), Endpoint("127.0.0.1", 1, zone="a")
    async with connect(pool) as channel:
        pool.set([endpoint], LoadBalancing(empty_policy=EmptyPolicy.KEEP_LAST))
        await pool.wait_until_connected(channel)
        pool.set([replace(endpoint, zone="b")])
        await pool.wait_until_connected(channel)
        assert [backend.endpoint.zone for backend in channel.status().backends] == ["b"]
        assert pool.view.balancing.empty_policy is EmptyPolicy.KEEP_LAST
        assert channel.status().pool == "FakePool"
    with pytest.raises(ValueError, match="has no servers"):
        await pool.scale(2)
    with pytest.raises(LookupError):
        await pool.kill(0)


async def test_each_client_is_told_all() -> None:
    """Several channels over one pool all see every change."""
    async with FakePool(Named(), count=1) as pool, connect(pool) as one, connect(pool) as other:
        await pool.scale(2)
        for channel in (one, other):
            await pool.wait_until_connected(channel)
            assert await shares(channel, 4) == {"0": 2, "1": 2}

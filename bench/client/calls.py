"""CPU cost of a call over a pool, compared with the same call over a plain gRPC channel to one backend."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle
from typing import Any, Final

import grpc.aio

from backendpool.api.endpoints import Endpoint, EndpointSet
from backendpool.api.load_balancing import OutlierDetection, Policy
from backendpool.client import PoolChannel, connect
from backendpool.client._subchannel import CHANNEL_OPTIONS
from bench.client.backends import STREAM, UNARY, endpoints
from bench.client.comparison import Candidate, Cost, Work, compare

BARE: Final = "bare channel"
IN_TURN: Final = "bare channels in turn"
POOL: Final = "pool"

Call = Callable[[grpc.aio.Channel], Callable[[], Any]]
"""Binds a method of a channel once; the result makes one call."""

_AT_ONCE = 10
_REQUEST = b"0123456789abcdef"
_TIMEOUT = 60.0


async def by_size(port: int, backends: int, call: Call, rounds: int, calls: int) -> Mapping[str, Cost]:
    """Compare a call over a pool of ``backends``, over one channel, and over one channel per backend, round robin.

    The third variant shows the cost of the connections alone.
    """
    async with AsyncExitStack() as stack:
        bare = [await stack.enter_async_context(_bare(endpoint)) for endpoint in endpoints(backends, port)]
        pool = await stack.enter_async_context(_pooled(port, backends))
        works = {BARE: _calling(bare[:1], call), IN_TURN: _calling(bare, call), POOL: _calling([pool], call)}
        return await _compare(works, rounds, calls)


async def by_options(port: int, backends: int, rounds: int, calls: int) -> Mapping[str, Cost]:
    """Compare unary calls over pools with different options, and over one channel per backend, round robin."""
    variants: dict[str, dict[str, Any]] = {
        POOL: {},
        "idempotent": {"idempotent": True},
        "LeastRequest": {"policy": Policy.LEAST_REQUEST},
        "outlier detection": {"outlier_detection": OutlierDetection()},
    }
    async with AsyncExitStack() as stack:
        bare = [await stack.enter_async_context(_bare(endpoint)) for endpoint in endpoints(backends, port)]
        works = {IN_TURN: _calling(bare, unary)}
        for name, options in variants.items():
            works[name] = _calling([await stack.enter_async_context(_pooled(port, backends, **options))], unary)
        return await _compare(works, rounds, calls)


def unary(channel: grpc.aio.Channel) -> Callable[[], Any]:
    """Send one request and await one response."""
    method: Any = channel.unary_unary(UNARY)
    return lambda: method(_REQUEST)


def with_timeout(channel: grpc.aio.Channel) -> Callable[[], Any]:
    """Like :func:`unary`, with a deadline."""
    method: Any = channel.unary_unary(UNARY)
    return lambda: method(_REQUEST, timeout=_TIMEOUT)


def stream(channel: grpc.aio.Channel) -> Callable[[], Any]:
    """Send one request and read :data:`~bench.client.backends.MESSAGES` responses."""
    method: Any = channel.unary_stream(STREAM)

    async def read() -> None:
        async for _ in method(_REQUEST):
            pass

    return read


FORMS: Final[Mapping[str, Call]] = {"unary": unary, "unary with a timeout": with_timeout, "stream": stream}


def _calling(channels: Sequence[grpc.aio.Channel], call: Call) -> Work:
    """Return work that calls ``channels`` round robin, with a few concurrent calls."""
    callers = cycle([call(channel) for channel in channels])

    async def one_after_another(times: int) -> None:
        for _ in range(times):
            await next(callers)()

    async def work(times: int) -> None:
        await asyncio.gather(*(one_after_another(times // _AT_ONCE) for _ in range(_AT_ONCE)))

    return work


async def _compare(works: Mapping[str, Work], rounds: int, calls: int) -> Mapping[str, Cost]:
    candidates = {name: Candidate(work, time.process_time) for name, work in works.items()}
    return await compare(candidates, rounds, max(1, calls // _AT_ONCE) * _AT_ONCE)


@asynccontextmanager
async def _bare(endpoint: Endpoint) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"ipv4:{endpoint.target}", options=CHANNEL_OPTIONS) as channel:
        await channel.channel_ready()
        yield channel


@asynccontextmanager
async def _pooled(port: int, backends: int, **options: Any) -> AsyncIterator[PoolChannel]:
    """Yield a channel over a pool that is connected to every backend."""

    async def told() -> AsyncIterator[EndpointSet]:
        yield EndpointSet.of(endpoints(backends, port))

    async with connect(told(), **options) as channel:
        while not channel.status().initialized:
            await asyncio.sleep(0.05)
        yield channel

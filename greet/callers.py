"""The ways by which a load generator calls: the gateway by HTTP, or the servers by the client library."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import ResolveResult
from grpc.aio import AioRpcError

from backendpool.client import connect
from greet.greet_pb2 import Greeting, GreetingRequest
from greet.greet_pb2_grpc import GreetServiceStub

BODY: Final = {"first_name": "Ada", "last_name": "Lovelace"}
_PAUSE: Final = 0.2

Call = Callable[[], Awaitable[str]]
"""Makes one call, and returns the text of its answer; raises :class:`Failed` where it was none."""


class Failed(Exception):
    """A call that was not answered with a greeting, in words that are the same for the same failure."""


async def reached(url: str, seconds: float) -> None:
    """Return when the gateway takes connections, or after so many ``seconds``.

    A Service that was just made is known to each node in its own time, and refused there until then.
    """
    place = urlsplit(url)
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection(place.hostname, place.port or place.scheme)
                    writer.close()
                    return
                await asyncio.sleep(_PAUSE)


@asynccontextmanager
async def by_gateway(url: str, timeout: float) -> AsyncIterator[Call]:
    """POST to the gateway, each call within ``timeout`` seconds."""
    connector = aiohttp.TCPConnector(limit=0, resolver=_PatientResolver(), ttl_dns_cache=None)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout), connector=connector) as session:

        async def call() -> str:
            try:
                async with session.post(url, json=BODY) as response:
                    text = await response.text()
            except (aiohttp.ClientError, TimeoutError) as error:
                raise Failed(f"{type(error).__name__}: {error}") from error
            if response.status != 200:
                raise Failed(f"{response.status} {text[:300]}")
            return text

        yield call


@asynccontextmanager
async def by_pool(target: str, timeout: float) -> AsyncIterator[Call]:
    """Greet by the servers of the pool that ``target`` names; Greet may be carried out twice."""
    request = GreetingRequest(greeting=Greeting(**BODY))
    async with connect(target, idempotent=True) as channel:
        stub = GreetServiceStub(channel)

        async def call() -> str:
            try:
                return (await stub.Greet(request, timeout=timeout, wait_for_ready=True)).Result
            except AioRpcError as error:
                raise Failed(f"{error.code().name} {error.details()}") from error

        yield call


class _PatientResolver(aiohttp.ThreadedResolver):
    """Asks again until the call that waits for it gives up.

    The name of a Service that was just made, and any name while a cluster's DNS has no server, is refused at once:
    calls that follow one another would fail by the hundred in a moment.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        while True:
            with suppress(OSError):
                return await super().resolve(host, port, family)
            await asyncio.sleep(_PAUSE)

"""Calls of the load generator: to the gateway over HTTP, or to the greet servers with the client library."""

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
"""Make one call and return the greeting; raise :class:`Failed` if the call fails."""


class Failed(Exception):
    """A failed call. Equal failures have equal texts, by which they are counted."""


async def reached(url: str, seconds: float) -> None:
    """Wait until the gateway accepts connections, for at most ``seconds``; return in either case.

    After a Service is created, each node refuses connections to it until kube-proxy has set up its rules there.
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
    """Yield a function that calls the gateway over HTTP, with ``timeout`` seconds for each call."""
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
    """Yield a function that calls the pool at ``target`` with the client library. Greet is idempotent."""
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
    """A resolver that retries until the waiting call times out.

    DNS fails at once for a new Service, or while no DNS server runs. Without retries, a load of rate 0 would fail
    hundreds of calls within a moment.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        while True:
            with suppress(OSError):
                return await super().resolve(host, port, family)
            await asyncio.sleep(_PAUSE)

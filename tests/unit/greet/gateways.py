"""A running gateway and an HTTP client for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from prometheus_client import CollectorRegistry

from greet.gateway.greeter import Greeter
from greet.gateway.metrics import GatewayMetrics
from greet.gateway.server import serving
from greet.greet_pb2 import GreetingRequest, GreetingResponse
from greet.settings import GatewaySettings

LOOPBACK = "127.0.0.1"
PERSON = json.dumps({"first_name": "Ada", "last_name": "Lovelace"}).encode()
JSON = {"Content-Type": "application/json"}


class ScriptedGreeter:
    """Records timeouts. It greets at once, waits until ``held`` is set, or raises ``failure``."""

    def __init__(self, failure: Exception | None = None, unready: str | None = None) -> None:
        self.failure = failure
        self.problem = unready
        self.held: asyncio.Event | None = None
        self.called = asyncio.Event()
        self.timeouts: list[float] = []

    def unready(self) -> str | None:
        return self.problem

    async def greet(self, request: GreetingRequest, timeout: float) -> GreetingResponse:
        self.timeouts.append(timeout)
        self.called.set()
        if self.held is not None:
            await self.held.wait()
        if self.failure is not None:
            raise self.failure
        return GreetingResponse(Result=f"Hello, {request.greeting.first_name} {request.greeting.last_name}.")


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def problem(self) -> dict[str, Any]:
        """The body, which must be a JSON problem with the status of the response."""
        assert self.headers["Content-Type"] == "application/problem+json"
        document: dict[str, Any] = json.loads(self.text)
        assert document["status"] == self.status
        assert document["type"] == "about:blank"
        assert document["title"]
        return document


@dataclass(frozen=True, slots=True)
class Client:
    """An HTTP client of one gateway."""

    session: aiohttp.ClientSession
    port: int
    metrics: GatewayMetrics

    async def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        url = f"http://{LOOPBACK}:{self.port}{path}"
        async with self.session.request(method, url, data=body, headers=headers) as response:
            return Answer(response.status, dict(response.headers), await response.text())

    async def greet(self, body: Any = PERSON, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.ask("POST", "/greet", body, {**JSON, **named})


@asynccontextmanager
async def gateway(greeter: Greeter, *, timeout: float = 5.0, drain: float = 0.0) -> AsyncIterator[Client]:
    """Run a gateway over ``greeter`` on a free port of the loopback interface, and yield a client."""
    registry = CollectorRegistry()
    metrics = GatewayMetrics(registry)
    settings = GatewaySettings(host=LOOPBACK, port=0, timeout_seconds=timeout, drain_seconds=drain, grace_seconds=5.0)
    async with AsyncExitStack() as stack:
        # The session closes last, so that a test can send requests while the gateway shuts down.
        session = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        port = await stack.enter_async_context(serving(settings, greeter, metrics, registry))
        yield Client(session, port, metrics)

"""A pool informer with the API server that it watches."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path

import aiohttp

from backendpool.controller.cache import Cache
from backendpool.controller.pool_informer import PoolInformer
from backendpool.controller.resync import ResyncTiming
from backendpool.k8s.client import Api
from backendpool.k8s.reflector import ReflectorTiming
from backendpool.k8s.resources import POOLS
from tests.fakes.api_server import ApiServer
from tests.fakes.clock import FakeClock
from tests.fakes.objects import pool
from tests.fakes.until import until
from tools.fault_proxy.rules import Rule

QUICK = ReflectorTiming(idle_timeout=30, healthy_after=0.1, backoff=0.02, longest_backoff=0.1)
ONCE = ResyncTiming(interval=60, retry=QUICK)
OFTEN = ResyncTiming(interval=0.1, grace=0.3, retry=QUICK)
ONLY_POOLS = f"{POOLS.plural}$"


class InformerHarness:
    """A running pool informer, its API server, and the fault proxy between them.

    The informer's clock stops until a test advances it. ``pauses`` are the informer's delays before retries,
    ``backoffs`` the delays that kopf requested, before each request and each retry.
    """

    def __init__(self, server: ApiServer, api: Api, control: str, timing: ResyncTiming, token_file: Path) -> None:
        self.failures: Counter[str] = Counter()
        self.pauses: list[float] = []
        self.backoffs: list[float] = []
        self.accepted: Counter[str] = Counter()
        """Watches that the server has accepted, by path."""
        self.now = 0.0
        self._jitter = timing.retry.jitter
        retry = replace(timing.retry, clock=lambda: self.now, jitter=self._draw, sleep=self._sleep)
        self._timing = timing = replace(timing, retry=retry, clock=lambda: self.now)
        self.cache = Cache(lambda _: None, FakeClock().call_later)
        self.watch = PoolInformer(self.cache, (), "test", api, self._failed, timing)
        self._record_watch = self.watch._record_watch
        self.watch._record_watch = self._accepted  # type: ignore[method-assign]
        self.requests = api.requests
        self.server = server
        self.token_file = token_file
        self._control = control

    def _draw(self, low: float, high: float) -> float:
        self.backoffs.append(self._jitter(low, high))
        return self.backoffs[-1]

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(seconds)

    def _accepted(self, path: str) -> None:
        self.accepted[path] += 1
        self._record_watch(path)

    def _failed(self, error: Exception) -> None:
        self.failures[type(error).__name__] += 1

    def put(self, name: str) -> None:
        self.server.put(pool(name))

    async def knows(self, *names: str) -> None:
        await until(lambda: {name for _, name in self.cache.pools()} == set(names))

    async def grace_passes(self) -> None:
        """Advance the clock once a list shows what the watch has not delivered."""
        await until(lambda: self.watch.resyncs[None]._pending)
        self.now += 2 * self._timing.grace

    async def script(self, *rules: Rule) -> None:
        async with aiohttp.ClientSession() as session:
            (await session.post(f"{self._control}/script", json=[rule.as_json() for rule in rules])).close()

    async def used(self) -> list[int]:
        """Return how often each rule of the script matched."""
        async with aiohttp.ClientSession() as session, session.get(f"{self._control}/script") as answer:
            by_agent: list[dict[str, int]] = (await answer.json())["used"]
            return [sum(used.values()) for used in by_agent]

    async def cut(self) -> None:
        async with aiohttp.ClientSession() as session:
            (await session.post(f"{self._control}/cut")).close()

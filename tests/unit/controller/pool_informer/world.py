"""The watch on pools, and the API server that it watches."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp

from backendpool.api.constants import API_VERSION, KIND
from backendpool.controller.cache import Cache
from backendpool.controller.pool_informer.informer import PoolWatch
from backendpool.controller.resync import SweepTiming
from backendpool.k8s.client import Api
from backendpool.k8s.reflector import ReflectorTiming
from backendpool.k8s.resources import POOLS
from tests.fakes.api_server import ApiServer
from tests.fakes.clock import FakeClock
from tests.fakes.pools import document
from tests.fakes.until import until
from tools.fault_proxy.rules import Rule

QUICK = ReflectorTiming(stall=30, settled=0.1, backoff=0.02, longest_backoff=0.1)
ONCE = SweepTiming(interval=60, retry=QUICK)
OFTEN = SweepTiming(interval=0.1, grace=0.3, retry=QUICK)
ONLY_POOLS = f"{POOLS.plural}$"


class World:
    """A watch on pools that runs, the server that it watches, and what lies between."""

    def __init__(self, server: ApiServer, api: Api, control: str, timing: SweepTiming, token_file: Path) -> None:
        self.failures: Counter[str] = Counter()
        self.cache = Cache(lambda _: None, FakeClock().call_later)
        self.watch = PoolWatch(self.cache, (), "test", api, self._failed, timing)
        self.requests = api.requests
        self.server = server
        self.token_file = token_file
        self._control = control

    def _failed(self, error: Exception) -> None:
        self.failures[type(error).__name__] += 1

    def put(self, name: str) -> None:
        self.server.put(pool(name))

    async def knows(self, *names: str) -> None:
        await until(lambda: {name for _, name in self.cache.pools()} == set(names))

    async def script(self, *rules: Rule) -> None:
        async with aiohttp.ClientSession() as session:
            (await session.post(f"{self._control}/script", json=[rule.as_json() for rule in rules])).close()

    async def used(self) -> list[int]:
        """How often each rule of the script was used."""
        async with aiohttp.ClientSession() as session, session.get(f"{self._control}/script") as answer:
            by_agent: list[dict[str, int]] = (await answer.json())["used"]
            return [sum(used.values()) for used in by_agent]

    async def cut(self) -> None:
        async with aiohttp.ClientSession() as session:
            (await session.post(f"{self._control}/cut")).close()


def pool(name: str) -> dict[str, Any]:
    made = document(name)
    made["metadata"]["uid"] = name
    return {"apiVersion": API_VERSION, "kind": KIND, **made}

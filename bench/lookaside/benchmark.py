"""Measures streams and Resolve calls of the lookaside, and of the baseline."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from backendpool.k8s.client import Api
from backendpool.k8s.resources import ENDPOINT_SLICES
from bench.common.cluster_setup import prepared
from bench.common.command_line import say
from bench.common.pool_fleet import PoolFleet, create
from bench.common.processes import cpu_of, free_port, memory_of, running
from bench.lookaside.go_programs import Streams, resolving, serving_baseline
from bench.lookaside.report import Results, StreamsResult
from tools.cluster import Cluster

_REST = 0.2
"""Seconds before each change, so that the servers are idle."""
_LOOKASIDE, _BASELINE = "lookaside", "go-control-plane"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of a run: numbers of streams, endpoints of the pool, changes, seconds of Resolve load."""

    streams: tuple[int, ...] = (1, 100, 1000)
    endpoints: int = 1000
    changes: int = 50
    seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Server:
    """A control plane under test."""

    name: str
    pid: int
    port: int


class Bench:
    """One run on one cluster; logs go to ``folder``."""

    def __init__(self, cluster: Cluster, api: Api, sizes: Sizes, folder: Path) -> None:
        self._cluster = cluster
        self._api = api
        self._sizes = sizes
        self._folder = folder
        self.fleet = PoolFleet(f"bench-{uuid4().hex[:6]}", 1, sizes.endpoints, -(-sizes.endpoints // 100))
        self._changes = 0

    async def run(self) -> Results:
        """Run all measurements; the namespace must exist."""
        await create(self._api, self.fleet)
        streams: list[StreamsResult] = []
        for size in self._sizes.streams:
            for server in (self._lookaside(), self._baseline()):
                async with server as found:
                    say(f"{size} streams of {found.name}")
                    streams.append(await self._streams(found, size))
        async with self._lookaside() as found:
            say("a load of Resolve")
            before, begun = cpu_of(found.pid), time.monotonic()
            answered = await resolving(found.port, self.fleet.namespace, self._pool, self._sizes.seconds)
            cpu, seconds = cpu_of(found.pid) - before, time.monotonic() - begun
        return Results(self._sizes.endpoints, streams, answered / seconds, answered / cpu)

    async def _streams(self, server: Server, size: int) -> StreamsResult:
        before = memory_of(server.pid)
        async with Streams.opened(server.port, size, f"{self._pool}.{self.fleet.namespace}") as streams:
            memory = memory_of(server.pid) - before
            cpu = cpu_of(server.pid)
            latencies = [await self._change(streams) for _ in range(self._sizes.changes)]
            cpu = cpu_of(server.pid) - cpu
            again, cpu_again = await self._reconnected(server, streams)
        return StreamsResult(server.name, size, latencies, cpu / len(latencies), 1e6 * memory / size, again, cpu_again)

    async def _change(self, streams: Streams) -> float:
        """Return the seconds from the API server's response to a slice update until the last stream has received the
        update.
        """
        await asyncio.sleep(_REST)
        self._changes += 1
        slice_ = self.fleet.slice(self._pool, change=self._changes)
        address = f"198.19.{self._changes // 250}.{self._changes % 250 + 1}"
        slice_["endpoints"][0]["addresses"] = [address]
        await streams.expect(address)
        await self._api.apply(ENDPOINT_SLICES, slice_)
        written = time.time()
        return await streams.told() - written

    async def _reconnected(self, server: Server, streams: Streams) -> tuple[float, float]:
        cpu = cpu_of(server.pid)
        seconds = await streams.reconnect()
        return seconds, cpu_of(server.pid) - cpu

    @property
    def _pool(self) -> str:
        (name,) = self.fleet.names()
        return name

    @asynccontextmanager
    async def _lookaside(self) -> AsyncIterator[Server]:
        port = free_port()
        env = {
            "KUBECONFIG": str(self._cluster.kubeconfig),
            "POOL_NAME": self._pool,
            "POOL_NAMESPACE": self.fleet.namespace,
            "LOOKASIDE_PORT": str(port),
        }
        async with running("lookaside", env, self._folder, None) as program:
            while not await program.figure("backendpool_endpoints", state="Ready"):
                await asyncio.sleep(0.1)
            yield Server(_LOOKASIDE, program.process.pid, port)

    @asynccontextmanager
    async def _baseline(self) -> AsyncIterator[Server]:
        port = free_port()
        where = (str(self._cluster.kubeconfig), self._cluster.context)
        async with serving_baseline(*where, self.fleet.namespace, self._pool, port) as pid:
            yield Server(_BASELINE, pid, port)


async def measure(cluster: Cluster, sizes: Sizes) -> Results:
    """Run the benchmark on ``cluster`` and clean up."""
    with tempfile.TemporaryDirectory(prefix="backendpool-bench-") as folder:
        async with await Api.connect(str(cluster.kubeconfig), cluster.context, timeout=60.0) as api:
            bench = Bench(cluster, api, sizes, Path(folder))
            async with prepared(cluster, [bench.fleet.namespace]):
                return await bench.run()

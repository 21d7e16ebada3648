"""Runs the measurements of the operator."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from backendpool.k8s.client import Api
from bench.common.cluster_setup import prepared
from bench.common.command_line import say
from bench.common.pool_fleet import PoolFleet, create, create_pools
from bench.common.processes import Program, running
from bench.operator import large_pool, measurements, write_floor
from bench.operator.report import LargePoolResult, Results, SizeResult
from bench.operator.status_watcher import StatusWatcher, watching
from tools.cluster import Cluster

_PER_SLICE = 100
"""Endpoints per slice, as in the EndpointSlice controller."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of a run. ``profile`` is a folder for cProfile files of the operator."""

    pools: tuple[int, ...] = (10, 100, 1000)
    endpoints: int = 100
    changes: int = 200
    flap_rate: float = 20.0
    flap_seconds: float = 20.0
    large_pool: int = 5000
    lookaside: bool = False
    profile: Path | None = None


class Bench:
    """One run on one cluster. Logs of the programs go to ``folder``."""

    def __init__(self, cluster: Cluster, api: Api, sizes: Sizes, folder: Path) -> None:
        self._api = api
        self._sizes = sizes
        self._folder = folder
        self._env = {"KUBECONFIG": str(cluster.kubeconfig), "LOOKASIDE_IMAGE": "unused"}
        run = uuid4().hex[:6]
        self._fleets = [
            PoolFleet(f"bench-{run}-{pools}", pools, sizes.endpoints, _slices(sizes.endpoints), sizes.lookaside)
            for pools in sizes.pools
        ]
        self._floors = {fleet: replace(fleet, namespace=f"{fleet.namespace}-floor") for fleet in self._fleets}
        self._large_pool = PoolFleet(f"bench-{run}-large", 1, sizes.large_pool, _slices(sizes.large_pool))

    @property
    def namespaces(self) -> list[str]:
        """The namespaces that the run writes to."""
        return [fleet.namespace for fleet in (*self._fleets, *self._floors.values(), self._large_pool)]

    async def run(self) -> Results:
        """Run all measurements; the namespaces must exist."""
        for fleet in (*self._fleets, self._large_pool):
            say(f"writing {fleet.pools} pools of {fleet.endpoints} endpoints")
            await create(self._api, fleet)
        sizes = [await self._size(fleet) for fleet in self._fleets]
        return Results(
            self._sizes.endpoints, sizes, await self._flap(self._fleets[-1]), await self._measure_large_pool()
        )

    async def _size(self, fleet: PoolFleet) -> SizeResult:
        say(f"{fleet.pools} pools: first start")
        async with watching(self._api, fleet.namespace) as view:
            async with self._operator(fleet, "first-start") as operator:
                first = await measurements.first_start(operator, view, fleet)
            say(f"{fleet.pools} pools: restart")
            async with self._operator(fleet, "restart") as operator:
                again = await measurements.restart(operator, fleet)
                await measurements.quiet(operator)
                say(f"{fleet.pools} pools: {self._sizes.changes} single changes")
                single = await measurements.changes(self._api, operator, view, fleet, self._sizes.changes)
                say(f"{fleet.pools} pools: one change in every pool")
                burst = await measurements.burst(self._api, operator, view, fleet)
        return SizeResult(fleet.pools, first, await self._floor(fleet), again, single, burst)

    async def _floor(self, fleet: PoolFleet) -> float:
        say(f"{fleet.pools} pools: what a first start has to write, alone")
        alone = self._floors[fleet]
        await create_pools(self._api, alone)
        return await write_floor.seconds(self._api, alone)

    async def _flap(self, fleet: PoolFleet) -> measurements.Flap:
        say(f"{fleet.pools} pools: an endpoint that flaps")
        async with watching(self._api, fleet.namespace) as view, self._operator(fleet, "flap") as operator:
            await measurements.restart(operator, fleet)
            await measurements.quiet(operator)
            rate, seconds = self._sizes.flap_rate, self._sizes.flap_seconds
            return await measurements.flap(self._api, operator, view, fleet, per_second=rate, seconds=seconds)

    async def _measure_large_pool(self) -> LargePoolResult:
        fleet = self._large_pool
        say(f"one pool of {fleet.endpoints} endpoints")
        async with watching(self._api, fleet.namespace) as view, self._operator(fleet, "large-pool") as operator:
            await measurements.first_start(operator, view, fleet)
            await measurements.quiet(operator)
            single = await self._changes_of_large_pool(operator, view)
            found = await large_pool.measure(self._api, view, fleet, self._env, self._folder)
        return LargePoolResult(fleet.endpoints, fleet.slices, single, found)

    async def _changes_of_large_pool(self, operator: Program, view: StatusWatcher) -> measurements.Changes:
        # All of them are changes of one pool, whose writes are spaced until it has been quiet for two seconds.
        return await measurements.changes(
            self._api, operator, view, self._large_pool, max(1, self._sizes.changes // 20), 2.5
        )

    @asynccontextmanager
    async def _operator(self, fleet: PoolFleet, what: str) -> AsyncIterator[Program]:
        folder = self._folder / f"{what}-{fleet.pools}"
        folder.mkdir()
        profile = self._sizes.profile and self._sizes.profile.resolve() / f"{what}-{fleet.pools}.prof"
        env = {**self._env, "WATCH_NAMESPACES": fleet.namespace, "LEASE_NAMESPACE": fleet.namespace}
        async with running("operator", env, folder, profile) as operator:
            yield operator


async def measure(cluster: Cluster, sizes: Sizes) -> Results:
    """Run the benchmark on ``cluster`` and clean up."""
    with tempfile.TemporaryDirectory(prefix="backendpool-bench-") as folder:
        async with await Api.connect(str(cluster.kubeconfig), cluster.context, timeout=60.0) as api:
            bench = Bench(cluster, api, sizes, Path(folder))
            async with prepared(cluster, bench.namespaces):
                return await bench.run()


def _slices(endpoints: int) -> int:
    return -(-endpoints // _PER_SLICE)

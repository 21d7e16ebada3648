"""How the operator does at scale: `python -m bench.scale`, or `make bench`.

On the test cluster's API server, with EndpointSlices that the benchmark writes itself, so that no pod runs. The
operator and the lookaside are processes of this machine; the one that is deployed is away meanwhile. What a number of
pools costs is compared within one run: absolute times are the machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from uuid import uuid4

from backendpool.k8s.client import Api
from bench import floor, measures, report, wide
from bench.command import counts, finished, say
from bench.fleet import Fleet, create, create_pools
from bench.programs import Program, running
from bench.report import Results, SizeResult, WideResult
from bench.seen import StatusView, watching
from bench.stage import prepared
from tools.cluster import Cluster, using

_PER_SLICE = 100
"""Endpoints in a slice: what the cluster's own controller puts into one."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What to measure with. ``profile`` is a folder for the operator's cProfile files."""

    pools: tuple[int, ...] = (10, 100, 1000)
    endpoints: int = 100
    changes: int = 200
    flap_rate: float = 20.0
    flap_seconds: float = 20.0
    wide: int = 5000
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
            Fleet(f"bench-{run}-{pools}", pools, sizes.endpoints, _slices(sizes.endpoints), sizes.lookaside)
            for pools in sizes.pools
        ]
        self._floors = {fleet: replace(fleet, namespace=f"{fleet.namespace}-floor") for fleet in self._fleets}
        self._wide = Fleet(f"bench-{run}-wide", 1, sizes.wide, _slices(sizes.wide))

    @property
    def namespaces(self) -> list[str]:
        """All that the run will write to."""
        return [fleet.namespace for fleet in (*self._fleets, *self._floors.values(), self._wide)]

    async def run(self) -> Results:
        """Measure all of it; the namespaces must be there."""
        for fleet in (*self._fleets, self._wide):
            say(f"writing {fleet.pools} pools of {fleet.endpoints} endpoints")
            await create(self._api, fleet)
        sizes = [await self._size(fleet) for fleet in self._fleets]
        return Results(self._sizes.endpoints, sizes, await self._flap(self._fleets[-1]), await self._wide_pool())

    async def _size(self, fleet: Fleet) -> SizeResult:
        say(f"{fleet.pools} pools: first start")
        async with watching(self._api, fleet.namespace) as view:
            async with self._operator(fleet, "first-start") as operator:
                first = await measures.first_start(operator, view, fleet)
            say(f"{fleet.pools} pools: restart")
            async with self._operator(fleet, "restart") as operator:
                again = await measures.restart(operator, fleet)
                await measures.quiet(operator)
                say(f"{fleet.pools} pools: {self._sizes.changes} single changes")
                single = await measures.changes(self._api, operator, view, fleet, self._sizes.changes)
                say(f"{fleet.pools} pools: one change in every pool")
                burst = await measures.burst(self._api, operator, view, fleet)
        return SizeResult(fleet.pools, first, await self._floor(fleet), again, single, burst)

    async def _floor(self, fleet: Fleet) -> float:
        say(f"{fleet.pools} pools: what a first start has to write, alone")
        alone = self._floors[fleet]
        await create_pools(self._api, alone)
        return await floor.seconds(self._api, alone)

    async def _flap(self, fleet: Fleet) -> measures.Flap:
        say(f"{fleet.pools} pools: an endpoint that flaps")
        async with watching(self._api, fleet.namespace) as view, self._operator(fleet, "flap") as operator:
            await measures.restart(operator, fleet)
            await measures.quiet(operator)
            rate, seconds = self._sizes.flap_rate, self._sizes.flap_seconds
            return await measures.flap(self._api, operator, view, fleet, per_second=rate, seconds=seconds)

    async def _wide_pool(self) -> WideResult:
        fleet = self._wide
        say(f"one pool of {fleet.endpoints} endpoints")
        async with watching(self._api, fleet.namespace) as view, self._operator(fleet, "wide") as operator:
            await measures.first_start(operator, view, fleet)
            await measures.quiet(operator)
            single = await self._changes_of_wide(operator, view)
            found = await wide.measure(self._api, view, fleet, self._env, self._folder)
        return WideResult(fleet.endpoints, fleet.slices, single, found)

    async def _changes_of_wide(self, operator: Program, view: StatusView) -> measures.Changes:
        # All of them are changes of one pool, whose writes are spaced until it has been quiet for two seconds.
        return await measures.changes(self._api, operator, view, self._wide, max(1, self._sizes.changes // 20), 2.5)

    @asynccontextmanager
    async def _operator(self, fleet: Fleet, what: str) -> AsyncIterator[Program]:
        folder = self._folder / f"{what}-{fleet.pools}"
        folder.mkdir()
        profile = self._sizes.profile and self._sizes.profile.resolve() / f"{what}-{fleet.pools}.prof"
        env = {**self._env, "WATCH_NAMESPACES": fleet.namespace, "LEASE_NAMESPACE": fleet.namespace}
        async with running("operator", env, folder, profile) as operator:
            yield operator


async def measure(cluster: Cluster, sizes: Sizes) -> Results:
    """Run the benchmark on ``cluster``, and leave nothing behind but its figures."""
    with tempfile.TemporaryDirectory(prefix="backendpool-bench-") as folder:
        async with await Api.connect(str(cluster.kubeconfig), cluster.context, timeout=60.0) as api:
            bench = Bench(cluster, api, sizes, Path(folder))
            async with prepared(cluster, bench.namespaces):
                return await bench.run()


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print the table. Interrupted, the cluster is left as it was found, and the exit code is 130."""
    sizes = _arguments(argv)
    if sizes.profile:
        sizes.profile.mkdir(parents=True, exist_ok=True)
    return finished(partial(_report, sizes))


def _report(sizes: Sizes) -> str:
    with using("benchmark", with_images=False) as cluster:
        return report.table(asyncio.run(measure(cluster, sizes)))


def _arguments(argv: Sequence[str] | None) -> Sizes:
    default = Sizes()
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__.partition("\n")[0])
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("--pools", type=counts, default=default.pools, help="numbers of pools, by commas, ascending")
    parser.add_argument("--endpoints", type=int, default=default.endpoints, help="endpoints of each pool")
    parser.add_argument("--changes", type=int, default=default.changes, help="single changes to measure")
    parser.add_argument("--flap-rate", type=float, default=default.flap_rate, help="changes a second of a flapping pod")
    parser.add_argument("--flap-seconds", type=float, default=default.flap_seconds, help="how long it flaps")
    parser.add_argument("--wide", type=int, default=default.wide, help="endpoints of the one large pool")
    parser.add_argument("--lookaside", action="store_true", help="pools with a lookaside and a reader; no pod is run")
    parser.add_argument("--profile", type=Path, help="folder for cProfile files of the operator; costs time itself")
    return Sizes(**vars(parser.parse_args(argv)))


def _slices(endpoints: int) -> int:
    return -(-endpoints // _PER_SLICE)


if __name__ == "__main__":
    raise SystemExit(main())

"""The measurements of one operator with one fleet of pools."""

from __future__ import annotations

import asyncio
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from backendpool.k8s.client import Api
from backendpool.k8s.resources import ENDPOINT_SLICES
from bench.common.pool_fleet import PoolFleet, at_once
from bench.common.processes import Program
from bench.operator.status_watcher import StatusWatcher, all_of

_REST = 0.05
"""Seconds before each single change, so that the operator is idle."""
_IDLE = 0.03
"""Share of a core that an idle operator may use."""
_IN_BURST, _IN_FLAPPING = 1_000_000, 2_000_000
"""Change numbers in separate ranges, so that every change is new to the pool."""


@dataclass(frozen=True, slots=True)
class Start:
    """A start, from the process start until every pool is synced: seconds, CPU seconds, peak MB, requests."""

    seconds: float
    cpu: float
    memory: float
    requests: Counter[str]
    status_writes: int


@dataclass(frozen=True, slots=True)
class Changes:
    """Single changes: seconds from a slice update to the status that has it; CPU seconds and writes per change."""

    latencies: Sequence[float]
    cpu_each: float
    writes_each: float

    @property
    def p50(self) -> float:
        return statistics.median(self.latencies)

    @property
    def p99(self) -> float:
        """Return the nearest rank, which is the maximum for fewer than a hundred changes."""
        return sorted(self.latencies)[-(len(self.latencies) // 100) - 1]


@dataclass(frozen=True, slots=True)
class Burst:
    """One change in every pool at once: seconds from the last write to the last status, CPU seconds, writes."""

    writing_seconds: float
    seconds: float
    cpu: float
    status_writes: int


@dataclass(frozen=True, slots=True)
class Flap:
    """A pod that is replaced again and again: number and duration of the changes, writes, and seconds until the last
    status.
    """

    changes: int
    seconds: float
    status_writes: int
    settled: float
    cpu: float


async def first_start(operator: Program, view: StatusWatcher, fleet: PoolFleet) -> Start:
    """Start the operator with pools that have neither a Service nor a status."""
    synced = await all_of(view.expect(pool, fleet.revision(pool)) for pool in fleet.names())
    return await _started(operator, synced - operator.begun)


async def restart(operator: Program, fleet: PoolFleet) -> Start:
    """Start the operator with pools that are up to date: it reconciles each once and writes nothing."""
    while await operator.figure("backendpool_reconcile_seconds_count", outcome="done") < fleet.pools:
        await asyncio.sleep(0.1)
    return await _started(operator, asyncio.get_running_loop().time() - operator.begun)


async def _started(operator: Program, seconds: float) -> Start:
    usage = await operator.usage()
    return Start(seconds, usage.cpu, operator.peak_memory(), usage.requests, usage.status_writes)


async def quiet(operator: Program, seconds: float = 1.0) -> None:
    """Wait until the operator is idle, so that the end of a start does not count for the next measurement."""
    while True:
        before = operator.cpu()
        await asyncio.sleep(seconds)
        if operator.cpu() - before <= _IDLE * seconds:
            return


async def changes(
    api: Api, operator: Program, view: StatusWatcher, fleet: PoolFleet, count: int, rest: float = _REST
) -> Changes:
    """Replace a pod in one pool after another, each ``rest`` seconds after the previous change is in the status."""
    pools = fleet.names()
    latencies: list[float] = []
    before = await operator.usage()
    for number in range(count):
        await asyncio.sleep(rest)
        round_, position = divmod(number, len(pools))
        latencies.append(await _change(api, view, fleet, pools[position], round_ + 1))
    used = await operator.usage() - before
    return Changes(latencies, used.cpu / count, used.status_writes / count)


async def _change(api: Api, view: StatusWatcher, fleet: PoolFleet, pool: str, change: int) -> float:
    changed = fleet.slice(pool, change=change)
    seen = view.expect(pool, fleet.revision(pool, change=change))
    await api.replace(ENDPOINT_SLICES, changed)
    written = asyncio.get_running_loop().time()
    # A watch can bring the status before the write's own answer is here.
    return max(0.0, await all_of([seen]) - written)


async def burst(api: Api, operator: Program, view: StatusWatcher, fleet: PoolFleet) -> Burst:
    """Replace a pod in every pool, as fast as the API server accepts it."""
    loop = asyncio.get_running_loop()
    changed = [fleet.slice(pool, change=_IN_BURST) for pool in fleet.names()]
    seen = [view.expect(pool, fleet.revision(pool, change=_IN_BURST)) for pool in fleet.names()]
    before, begun = await operator.usage(), loop.time()
    await at_once(api.replace(ENDPOINT_SLICES, one) for one in changed)
    written = loop.time()
    last = await all_of(seen)
    used = await operator.usage() - before
    return Burst(written - begun, max(0.0, last - written), used.cpu, used.status_writes)


async def flap(
    api: Api, operator: Program, view: StatusWatcher, fleet: PoolFleet, *, per_second: float, seconds: float
) -> Flap:
    """Replace a pod of the first pool again and again."""
    loop, pool, count = asyncio.get_running_loop(), fleet.names()[0], int(per_second * seconds)
    slices = [fleet.slice(pool, change=_IN_FLAPPING + number) for number in range(count)]
    last = view.expect(pool, fleet.revision(pool, change=_IN_FLAPPING + count - 1))
    before, begun = await operator.usage(), loop.time()
    for number, changed in enumerate(slices):
        await asyncio.sleep(begun + number / per_second - loop.time())
        await api.replace(ENDPOINT_SLICES, changed)
    written = loop.time()
    settled = max(0.0, await all_of([last]) - written)
    used = await operator.usage() - before
    return Flap(count, written - begun, used.status_writes, settled, used.cpu)

"""The tables of the results: a column per number of pools, and ratios to the smallest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.operator.large_pool import LargePool
from bench.operator.measurements import Burst, Changes, Flap, Start


@dataclass(frozen=True, slots=True)
class SizeResult:
    """The results for one number of pools; ``floor`` is from :mod:`bench.operator.write_floor`."""

    pools: int
    first_start: Start
    floor: float
    restart: Start
    changes: Changes
    burst: Burst


@dataclass(frozen=True, slots=True)
class LargePoolResult:
    """The result for the pool with many endpoints."""

    endpoints: int
    slices: int
    changes: Changes
    large_pool: LargePool


@dataclass(frozen=True, slots=True)
class Results:
    """The results of a run. ``flap`` is measured with the largest number of pools."""

    endpoints: int
    sizes: Sequence[SizeResult]
    flap: Flap
    large_pool: LargePoolResult

    def ratio(self, figure: Callable[[SizeResult], float]) -> float:
        """Return the ratio of a value with the most pools to that with the fewest."""
        return _ratio(figure(self.sizes[-1]), figure(self.sizes[0]))


_Row = tuple[str, str, Callable[[SizeResult], float]]

_ROWS: tuple[_Row, ...] = (
    ("first start: until all are synced", "s", lambda r: r.first_start.seconds),
    ("  the same writes alone", "s", lambda r: r.floor),
    ("  ratio", "", lambda r: r.first_start.seconds / r.floor),
    ("  CPU", "s", lambda r: r.first_start.cpu),
    ("  peak memory", "MB", lambda r: r.first_start.memory),
    ("  requests per pool", "", lambda r: r.first_start.requests.total() / r.pools),
    ("  status writes per pool", "", lambda r: r.first_start.status_writes / r.pools),
    ("restart: until all are reconciled", "s", lambda r: r.restart.seconds),
    ("  CPU", "s", lambda r: r.restart.cpu),
    ("  peak memory", "MB", lambda r: r.restart.memory),
    ("  requests", "", lambda r: r.restart.requests.total()),
    ("one change: until in the status, p50", "ms", lambda r: 1000 * r.changes.p50),
    ("  p99", "ms", lambda r: 1000 * r.changes.p99),
    ("  CPU", "ms", lambda r: 1000 * r.changes.cpu_each),
    ("  status writes", "", lambda r: r.changes.writes_each),
    ("one change in every pool: time to write them", "s", lambda r: r.burst.writing_seconds),
    ("  from the last write to the last status", "s", lambda r: r.burst.seconds),
    ("  CPU per pool", "ms", lambda r: 1000 * r.burst.cpu / r.pools),
    ("  status writes per pool", "", lambda r: r.burst.status_writes / r.pools),
)


def table(results: Results) -> str:
    """Return the whole report, in Markdown that is readable on a terminal too."""
    return "\n".join(
        (*_sizes(results), "", *_requests(results), "", *_flap(results.flap), "", *_large_pool(results.large_pool))
    )


def _sizes(results: Results) -> list[str]:
    first = results.sizes[0]
    head = [f"pools of {results.endpoints} endpoints", *(str(r.pools) for r in results.sizes)]
    head += [f"{r.pools} : {first.pools}" for r in results.sizes[1:]]
    rows = [
        [
            f"{name}, {unit}" if unit else name,
            *(_number(figure(r)) for r in results.sizes),
            *(f"{_ratio(figure(r), figure(first)):.2f}" for r in results.sizes[1:]),
        ]
        for name, unit, figure in _ROWS
    ]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    ruler = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [_line(row, widths) for row in (head, ruler, *rows)]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = zip(cells, widths, strict=True)
    return " | ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)])


def _requests(results: Results) -> list[str]:
    most = results.sizes[-1]
    return [
        f"requests of the first start with {most.pools} pools: {_verbs(most.first_start.requests)}",
        f"requests of the restart with {most.pools} pools: {_verbs(most.restart.requests)}",
    ]


def _verbs(requests: Counter[str]) -> str:
    return ", ".join(f"{count} {verb}" for verb, count in sorted(requests.items()))


def _flap(flap: Flap) -> list[str]:
    return [
        f"flapping: {flap.changes} changes in {flap.seconds:.1f} s made {flap.status_writes} status writes and took "
        f"{flap.cpu:.2f} s of CPU; the last state was in the status {flap.settled:.2f} s after the last change"
    ]


def _large_pool(result: LargePoolResult) -> list[str]:
    large, changes = result.large_pool, result.changes
    return [
        f"one pool of {result.endpoints} endpoints in {result.slices} slices: "
        f"the status lists {large.listed} of {large.total}, truncated: {large.truncated}, {large.status_bytes} bytes",
        f"  one change: to the status p50 {1000 * changes.p50:.0f} ms, p99 {1000 * changes.p99:.0f} ms, "
        f"CPU {1000 * changes.cpu_each:.0f} ms",
        f"  lookaside: {large.lookaside_ready} ready, {large.resolved} addresses in {result.endpoints} answers "
        f"({large.resolves_per_second:.0f} a second), {large.memory:.0f} MB at most",
    ]


def _ratio(figure: float, first: float) -> float:
    return figure / first if first else float("nan")


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"

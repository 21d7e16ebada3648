"""The table of the results, with those of the baseline."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StreamsResult:
    """The costs of a number of streams of one server.

    ``latencies`` are the seconds from the response to a slice update until the last stream has received it. ``cpu`` is
    in seconds per change, ``memory`` in bytes per stream. ``again`` is the seconds until all streams are in sync after
    a simultaneous reconnect, and ``cpu_again`` the CPU seconds of that.
    """

    server: str
    streams: int
    latencies: Sequence[float]
    cpu: float
    memory: float
    again: float
    cpu_again: float

    @property
    def p99(self) -> float:
        """Return the nearest rank, which is the maximum for fewer than a hundred changes."""
        return sorted(self.latencies)[-(len(self.latencies) // 100) - 1]


@dataclass(frozen=True, slots=True)
class Results:
    """The results of a run; the measurements of lookaside and baseline alternate."""

    endpoints: int
    streams: Sequence[StreamsResult]
    resolves_per_second: float
    resolves_per_cpu_second: float


_ROWS: tuple[tuple[str, str, Callable[[StreamsResult], float]], ...] = (
    ("change to the last stream, p50", "ms", lambda r: 1000 * statistics.median(r.latencies)),
    ("  p99", "ms", lambda r: 1000 * r.p99),
    ("CPU per change", "ms", lambda r: 1000 * r.cpu),
    ("  for each push", "µs", lambda r: 1e6 * r.cpu / r.streams),
    ("memory per stream", "kB", lambda r: r.memory / 1000),
    ("all reconnect: until all are in sync", "s", lambda r: r.again),
    ("  CPU", "s", lambda r: r.cpu_again),
)


def table(results: Results) -> str:
    """Return the whole report, in Markdown that is readable on a terminal too."""
    pairs = [*zip(results.streams[::2], results.streams[1::2], strict=True)]
    head = [f"{results.endpoints} endpoints, streams"]
    for ours, theirs in pairs:
        head += [f"{ours.streams}", theirs.server, "ratio"]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for name, unit, figure in _ROWS:
        cells = [f"{name.replace('  ', '&emsp;')}, {unit}"]
        for pair in pairs:
            mine, least = map(figure, pair)
            cells += [_number(mine), _number(least), f"{mine / least:.2f}" if least else "-"]
        lines.append(cells)
    resolve = (
        f"Resolve: {results.resolves_per_second:,.0f} answers a second, "
        f"{results.resolves_per_cpu_second:,.0f} for each second of CPU."
    )
    return "\n".join(["| " + " | ".join(line) + " |" for line in lines] + ["", resolve])


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"

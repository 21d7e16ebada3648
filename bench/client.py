"""What the client library costs: `python -m bench.client`, or `make bench-client`.

It needs no cluster: the backends are a process of this machine. What is compared is CPU time of the client's process
alone, or of a gateway's, in rounds by turns (bench/rounds.py): absolute times are the machine's.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from bench import backends, calls, client_report, gateways, updates
from bench.client_report import Results
from bench.command import counts, finished, many_files, say

_FEW = 3
"""Backends with which options and gateways are compared."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What to measure with: numbers of backends, rounds, calls and requests in each, changes of the largest set."""

    backends: tuple[int, ...] = (1, 3, 100, 1000)
    rounds: int = 100
    calls: int = 50
    changes: int = 50
    requests: int = 50


async def measure(sizes: Sizes) -> Results:
    """Run the benchmark."""
    most = sizes.backends[-1]
    found = {}
    async with backends.serving(_FEW) as port:
        for count in sizes.backends:
            for name, call in calls.FORMS.items():
                say(f"{name} calls over {count} backends")
                found[name, count] = await calls.by_size(port, count, call, sizes.rounds, sizes.calls)
        say("unary calls by options")
        options = await calls.by_options(port, _FEW, sizes.rounds, sizes.calls)
        say(f"changes of {most} endpoints")
        changes = await updates.by_change(port, most, sizes.changes)
        say("requests to gateways")
        requests = await gateways.by_mode(port, sizes.rounds, sizes.requests)
    return Results(found, options, (most, changes), requests)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print the tables. Interrupted, the exit code is 130."""
    sizes = _arguments(argv)
    many_files()
    return finished(partial(_report, sizes))


def _report(sizes: Sizes) -> str:
    return client_report.tables(asyncio.run(measure(sizes)))


def _arguments(argv: Sequence[str] | None) -> Sizes:
    default = Sizes()
    parser = argparse.ArgumentParser(prog="python -m bench.client", description=__doc__.partition("\n")[0])
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("--backends", type=counts, default=default.backends, help="numbers of backends, by commas")
    parser.add_argument("--rounds", type=int, default=default.rounds, help="rounds of each comparison")
    parser.add_argument("--calls", type=int, default=default.calls, help="calls in a round")
    parser.add_argument("--changes", type=int, default=default.changes, help="changes of the largest set")
    parser.add_argument("--requests", type=int, default=default.requests, help="requests to a gateway in a round")
    return Sizes(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())

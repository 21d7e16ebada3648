"""The command line."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from functools import partial

from bench.client import __doc__ as about
from bench.client import report
from bench.client.benchmark import Sizes, measure
from bench.common.command_line import counts, finished, many_files


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the tables; an interrupt exits with 130."""
    sizes = _arguments(argv)
    many_files()
    return finished(partial(_report, sizes))


def _report(sizes: Sizes) -> str:
    return report.tables(asyncio.run(measure(sizes)))


def _arguments(argv: Sequence[str] | None) -> Sizes:
    default = Sizes()
    parser = argparse.ArgumentParser(prog="python -m bench.client", description=about.partition("\n")[0])
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("--backends", type=counts, default=default.backends, help="numbers of backends, by commas")
    parser.add_argument("--rounds", type=int, default=default.rounds, help="rounds of each comparison")
    parser.add_argument("--calls", type=int, default=default.calls, help="calls in a round")
    parser.add_argument("--changes", type=int, default=default.changes, help="changes of the largest set")
    parser.add_argument("--requests", type=int, default=default.requests, help="requests to a gateway in a round")
    return Sizes(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())

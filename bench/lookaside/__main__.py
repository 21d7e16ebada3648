"""The command line."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from functools import partial

from bench.common.command_line import counts, finished, many_files
from bench.lookaside import __doc__ as about
from bench.lookaside import report
from bench.lookaside.benchmark import Sizes, measure
from bench.lookaside.go_programs import built
from tools.cluster import using


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the table; an interrupt cleans up and exits with 130."""
    sizes = _arguments(argv)
    many_files()
    return finished(partial(_report, sizes))


def _report(sizes: Sizes) -> str:
    built()
    with using("benchmark", with_images=False) as cluster:
        return report.table(asyncio.run(measure(cluster, sizes)))


def _arguments(argv: Sequence[str] | None) -> Sizes:
    default = Sizes()
    parser = argparse.ArgumentParser(prog="python -m bench.lookaside", description=about.partition("\n")[0])
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("--streams", type=counts, default=default.streams, help="numbers of streams, by commas")
    parser.add_argument("--endpoints", type=int, default=default.endpoints, help="endpoints of the pool")
    parser.add_argument("--changes", type=int, default=default.changes, help="changes to measure with each")
    parser.add_argument("--seconds", type=float, default=default.seconds, help="of the load of Resolve")
    return Sizes(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())

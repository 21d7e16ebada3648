"""The command line."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench.common.command_line import counts, finished
from bench.operator import __doc__ as about
from bench.operator import report
from bench.operator.benchmark import Sizes, measure
from tools.cluster import using


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the table; an interrupt cleans up and exits with 130."""
    sizes = _arguments(argv)
    if sizes.profile:
        sizes.profile.mkdir(parents=True, exist_ok=True)
    return finished(partial(_report, sizes))


def _report(sizes: Sizes) -> str:
    with using("benchmark", with_images=False) as cluster:
        return report.table(asyncio.run(measure(cluster, sizes)))


def _arguments(argv: Sequence[str] | None) -> Sizes:
    default = Sizes()
    parser = argparse.ArgumentParser(prog="python -m bench.operator", description=about.partition("\n")[0])
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("--pools", type=counts, default=default.pools, help="numbers of pools, by commas, ascending")
    parser.add_argument("--endpoints", type=int, default=default.endpoints, help="endpoints of each pool")
    parser.add_argument("--changes", type=int, default=default.changes, help="single changes to measure")
    parser.add_argument("--flap-rate", type=float, default=default.flap_rate, help="changes a second of a flapping pod")
    parser.add_argument("--flap-seconds", type=float, default=default.flap_seconds, help="how long it flaps")
    parser.add_argument("--large-pool", type=int, default=default.large_pool, help="endpoints of the one large pool")
    parser.add_argument("--lookaside", action="store_true", help="pools with a lookaside and a reader; no pod is run")
    parser.add_argument("--profile", type=Path, help="folder for cProfile files of the operator; costs time itself")
    return Sizes(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())

"""The command line."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from functools import partial

from bench.common.command_line import finished
from bench.startup import __doc__ as about
from bench.startup.benchmark import measure, table


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the table; an interrupt exits with 130."""
    parser = argparse.ArgumentParser(prog="python -m bench.startup", description=about.partition("\n")[0])
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("--rounds", type=int, default=10, help="starts of each program")
    rounds = parser.parse_args(argv).rounds
    return finished(partial(_report, rounds))


def _report(rounds: int) -> str:
    return table(asyncio.run(measure(rounds)))


if __name__ == "__main__":
    raise SystemExit(main())

"""Shared parts of the benchmarks' command lines."""

from __future__ import annotations

import resource
import signal
import sys
from collections.abc import Callable

from tools.cluster import ClusterError


def finished(measured: Callable[[], str]) -> int:
    """Print the report and return the exit code: 1 without a cluster, 130 after an interrupt."""
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    try:
        print(measured())
    except KeyboardInterrupt:
        say("interrupted: the cluster is as it was")
        return 128 + signal.SIGINT
    except ClusterError as error:
        say(error.report())
        return 1
    return 0


def counts(text: str) -> tuple[int, ...]:
    """Parse comma-separated numbers and sort them."""
    return tuple(sorted(int(part) for part in text.split(",")))


def many_files() -> None:
    """Raise the soft limit on open files: a thousand connections exceed the default."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def say(line: str) -> None:
    """Print progress to standard error; the report goes to standard output."""
    print(line, file=sys.stderr, flush=True)

"""What the benchmarks' command lines have in common."""

from __future__ import annotations

import resource
import signal
import sys
from collections.abc import Callable

from tools.cluster import ClusterError


def finished(measured: Callable[[], str]) -> int:
    """Print the report; the exit code is 1 where the cluster is not to be had, and 130 after an interrupt."""
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
    """Numbers by commas, as an argument; ascending."""
    return tuple(sorted(int(part) for part in text.split(",")))


def many_files() -> None:
    """Let this process have a thousand connections, which are more files than shells allow by default."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def say(line: str) -> None:
    """Progress, beside the report."""
    print(line, file=sys.stderr, flush=True)

"""The command line of the demo."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from rich.console import Console

from tools.cluster import ClusterError, deploy, down, uses_user_cluster, using
from tools.cluster.kubectl import KubectlError
from tools.demo import __doc__ as about
from tools.demo.demo_run import DemoRun
from tools.demo.screen import Screen


def main(arguments: Sequence[str]) -> int:
    """Run the demo or take it down; return 0 on success, 1 on failure, 130 if interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # an end by `kill` tidies up as one by Ctrl-C does
    parser = argparse.ArgumentParser(prog="make demo", description=about, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--down", action="store_true", help="remove everything that the demo started")
    screen = Screen(Console())
    taking_down = parser.parse_args(arguments).down
    try:
        return _take_down(screen) if taking_down else _show(screen)
    except ClusterError as error:
        screen.problem(error.report())
        return 1
    except (KubectlError, AssertionError, subprocess.TimeoutExpired, OSError) as error:
        screen.problem(f"stopped: {error}\nwhat to do: run this again to start over, or run make demo-down")
        return 1
    except KeyboardInterrupt:
        screen.problem("interrupted: run make demo to start over, or make demo-down to clean up")
        return 128 + signal.SIGINT


def _show(screen: Screen) -> int:
    begun = time.monotonic()
    screen.heading("A cluster")
    with using("demo") as cluster:
        DemoRun(cluster, screen).run()
    screen.note(f"total time: {time.monotonic() - begun:.0f} s")
    if screen.failures:
        screen.problem(f"{screen.failures} unexpected results: see above")
    return 1 if screen.failures else 0


def _take_down(screen: Screen) -> int:
    """Delete our own cluster; from a user's cluster, remove what the demo installed."""
    if uses_user_cluster():
        screen.step("kubectl delete namespace, for each stage, then manifests/operator")
        with using("demo-down", with_images=False, alone=True) as cluster:
            left = deploy.remove(cluster)
        if left:
            screen.note(f"operator and CRD stay, because these pools are not of the demo:\n{left}")
    down()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

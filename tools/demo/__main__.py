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
    """Show it, or take it down again; 0 when all was as it should be, 1 when not, 130 when it was interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # an end by `kill` tidies up as one by Ctrl-C does
    parser = argparse.ArgumentParser(prog="make demo", description=about, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--down", action="store_true", help="remove what it brought up")
    screen = Screen(Console())
    taking_down = parser.parse_args(arguments).down
    try:
        return _take_down(screen) if taking_down else _show(screen)
    except ClusterError as error:
        screen.problem(error.report())
        return 1
    except (KubectlError, AssertionError, subprocess.TimeoutExpired, OSError) as error:
        screen.problem(f"stopped: {error}\nwhat to do: run this again, it begins anew; or make demo-down")
        return 1
    except KeyboardInterrupt:
        screen.problem("interrupted: make demo begins again, make demo-down removes what is there")
        return 128 + signal.SIGINT


def _show(screen: Screen) -> int:
    begun = time.monotonic()
    screen.heading("A cluster")
    with using("demo") as cluster:
        DemoRun(cluster, screen).run()
    screen.note(f"{time.monotonic() - begun:.0f} s in all")
    if screen.failures:
        screen.problem(f"{screen.failures} times it was not as it should be: see above")
    return 1 if screen.failures else 0


def _take_down(screen: Screen) -> int:
    """A cluster of our own goes as a whole; from one of the user's goes what the demo installed."""
    if uses_user_cluster():
        screen.step("kubectl delete namespace, for each stage, then manifests/operator")
        with using("demo-down", with_images=False, alone=True) as cluster:
            left = deploy.remove(cluster)
        if left:
            screen.note(f"pools that the demo did not make: operator and CRD stay for them\n{left}")
    down()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

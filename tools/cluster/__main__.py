"""The command line: `python -m tools.cluster up` and others."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.cluster import engine, images, lifecycle, lock
from tools.cluster import settings as choices
from tools.cluster.console import Console, line
from tools.cluster.errors import ClusterError
from tools.cluster.settings import Settings

_EPILOG = """\
environment:
  CLUSTER         kind (a cluster of our own, the default), or context:NAME (one of yours; it is never made or deleted)
  IMAGES          where a cluster of yours finds the project's images: IMAGES/operator:dev, IMAGES/greet:dev
  NODE_IMAGE      the node image to use instead of the pinned kindest/node, or of the one built from source
  DEBIAN_MIRROR   where debootstrap finds Debian, when images are built from source (default: its own)
  XDG_CACHE_HOME  what is built is kept in backendpool/ below it (default: ~/.cache)
"""


def main(arguments: Sequence[str]) -> int:
    """Run one command; return 0 on success and 1 on failure."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # an end by `kill` tidies up as one by Ctrl-C does
    console = Console()
    chosen = _parser().parse_args(arguments)
    try:
        settings = choices.from_environment(os.environ, Path.home())
        return _run(chosen, settings, console)
    except ClusterError as error:
        sys.stderr.write(f"{error.report()}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"error: {error}\nwhat to do: check that this file is writable and the disk is not full\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: run this again to resume\n")
        return 130


def _run(chosen: argparse.Namespace, settings: Settings, console: Console) -> int:
    match chosen.command:
        case "up":
            with lifecycle.using(settings, console, "cluster-up", with_images=True) as cluster:
                console.say(line("kubectl", " ".join(cluster.kubectl_command)))
        case "down":
            lifecycle.down(settings, console)
        case "status":
            return 0 if lifecycle.status(settings, console) else 1
        case "images":
            with lock.hold(settings.lock, "images") as hold:
                images.build(engine.require(settings, console), hold, settings, console)
        case "logs":
            lifecycle.find(settings, console).export_logs(chosen.folder)
            console.say(f"logs are in {chosen.folder}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.cluster",
        description="A Kubernetes cluster for the demo and the e2e tests.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("up", help="start a healthy cluster with the project's images")
    commands.add_parser("down", help="delete the cluster, and stop the Docker engine if this tool started it")
    commands.add_parser("status", help="print the state of the cluster and how to access it; fails if it is unhealthy")
    commands.add_parser("images", help="build the project's images if their sources changed")
    logs = commands.add_parser("logs", help="export the logs of all nodes and pods to a folder")
    logs.add_argument("folder", type=Path, metavar="DIR")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The command ``backendpool``: one program, one sub-command for each of its parts.

Settings come from the environment, for that is what a pod has; flags override them. Exit codes: 0 ended as
asked, 1 failed, 2 wrong usage or settings.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from backendpool import __version__
from backendpool.errors import BackendPoolError, SettingsError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sub-command that ``argv`` names, and return the exit code."""
    args = _parser().parse_args(argv)
    env = {**os.environ, **{name: value for name, value in vars(args).items() if name.isupper() and value is not None}}
    # Until a command has handlers of its own: its imports take a second, and the first process of a container
    # does not even die of a signal that it has no handler for.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    try:
        return _COMMANDS[args.command](env)
    except SettingsError as error:
        print(f"backendpool {args.command}: {error}", file=sys.stderr)
        return 2
    except BackendPoolError as error:
        print(f"backendpool {args.command}: {error}", file=sys.stderr)
        return 1


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="backendpool", description="Balanced gRPC backends on Kubernetes, without a proxy or a sidecar."
    )
    parser.add_argument("--version", action="version", version=f"backendpool {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    operator = commands.add_parser("operator", help="watch GrpcBackendPools and make what they ask for")
    _flag(operator, "--lookaside-image", "LOOKASIDE_IMAGE", "image that lookaside pods run (required)")
    _flag(operator, "--namespaces", "WATCH_NAMESPACES", "namespaces to serve, by commas (default: all)")
    lease = "namespace of the Lease by which one of several operators leads (default: none)"
    _flag(operator, "--lease-namespace", "LEASE_NAMESPACE", lease)
    _common(operator)

    lookaside = commands.add_parser("lookaside", help="answer gRPC clients with a pool's endpoints")
    _flag(lookaside, "--pool", "POOL_NAME", "name of the pool (required)")
    _flag(lookaside, "--namespace", "POOL_NAMESPACE", "namespace of the pool (required)")
    _flag(lookaside, "--port", "LOOKASIDE_PORT", "gRPC port (default: 50055)")
    _common(lookaside)
    return parser


def _common(parser: argparse.ArgumentParser) -> None:
    _flag(parser, "--metrics-port", "METRICS_PORT", "port of /healthz, /readyz and /metrics (default: 9090)")
    _flag(parser, "--log-level", "LOG_LEVEL", "debug, info, warning or error (default: info)")
    _flag(parser, "--log-format", "LOG_FORMAT", "text or json (default: text)")


def _flag(parser: argparse.ArgumentParser, flag: str, variable: str, text: str) -> None:
    parser.add_argument(flag, dest=variable, metavar=variable.rpartition("_")[2], help=f"{text} [${variable}]")


def _operator(env: dict[str, str]) -> int:
    with _extra("operator"):
        from backendpool import controller
        from backendpool.observability import configure_logging
        from backendpool.settings import OperatorSettings

    settings = OperatorSettings.from_env(env)
    configure_logging(env.get("LOG_LEVEL") or "info", env.get("LOG_FORMAT") or "text")
    # A list makes containers by the hundred thousand, and no garbage: to look for some after every 700 of them, as
    # Python does, took a quarter of the CPU of a start with a thousand pools.
    gc.set_threshold(20_000)
    asyncio.run(controller.run(settings))
    return 0


def _lookaside(env: dict[str, str]) -> int:
    with _extra("lookaside"):
        from backendpool.lookaside import server
        from backendpool.lookaside.settings import LookasideSettings
        from backendpool.observability import configure_logging

    settings = LookasideSettings.from_env(env)
    configure_logging(env.get("LOG_LEVEL") or "info", env.get("LOG_FORMAT") or "text")
    server.run(settings)
    return 0


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Imports that need the extra ``name``: the base install is the light client, and has none of them."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise SettingsError(f"{error.name} is not installed: pip install 'backendpool[{name}]'") from error


_COMMANDS = {"operator": _operator, "lookaside": _lookaside}

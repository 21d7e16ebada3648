"""Command-line flags and exit codes of all programs.

Settings come from environment variables, which pods use; flags override them. Exit codes: 0 success, 1 failure,
2 wrong usage or settings.
"""

from __future__ import annotations

import os
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import NoReturn, TypeAlias

from backendpool.errors import BackendPoolError, SettingsError, TargetError
from backendpool.runtime.logs import configure_logging

Run: TypeAlias = Callable[[Namespace, dict[str, str]], None]
"""A sub-command. It takes its arguments, and the environment with the flags merged in."""


def main(parser: ArgumentParser, commands: Mapping[str, Run], argv: Sequence[str] | None) -> int:
    """Run the sub-command that ``argv`` names, and return the exit code."""
    args = parser.parse_args(argv)
    env = {**os.environ, **{name: value for name, value in vars(args).items() if name.isupper() and value is not None}}
    # Handle signals until the command installs its own handlers: its imports take a second, and the kernel ignores
    # signals without a handler for the first process of a container.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    try:
        commands[args.command](args, env)
    except BackendPoolError as error:
        print(f"{parser.prog} {args.command}: {error}", file=sys.stderr)
        return 2 if isinstance(error, SettingsError | TargetError) else 1
    return 0


def add_flag(parser: ArgumentParser, flag: str, variable: str, text: str) -> None:
    """Add a flag that overrides the environment variable ``variable``."""
    parser.add_argument(flag, dest=variable, metavar=variable.rpartition("_")[2], help=f"{text} [${variable}]")


def add_log_flags(parser: ArgumentParser) -> None:
    """Add the flags that :func:`set_up_log` reads."""
    add_flag(parser, "--log-level", "LOG_LEVEL", "debug, info, warning or error (default: info)")
    add_flag(parser, "--log-format", "LOG_FORMAT", "text or json (default: text)")


def port_from(env: Mapping[str, str], name: str, default: int) -> int:
    """Return a TCP port from the environment; 0 means any free port."""
    text = env.get(name) or str(default)
    if not text.isdecimal() or int(text) > 65535:
        raise SettingsError(f"invalid {name} {text!r}: expected a port number from 0 to 65535")
    return int(text)


def set_up_log(env: Mapping[str, str]) -> None:
    """Configure logging from LOG_LEVEL and LOG_FORMAT."""
    configure_logging(env.get("LOG_LEVEL") or "info", env.get("LOG_FORMAT") or "text")


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)

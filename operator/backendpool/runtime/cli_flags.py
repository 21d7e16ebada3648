"""What our commands have in common: flags, and how they end.

Settings come from the environment, for that is what a pod has; flags override them. Exit codes: 0 ended as
asked, 1 failed, 2 wrong usage or settings.
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

Run: TypeAlias = Callable[[Namespace, dict[str, str]], None]
"""A sub-command, given its arguments, and the environment with the flags over it."""


def main(parser: ArgumentParser, commands: Mapping[str, Run], argv: Sequence[str] | None) -> int:
    """Run the sub-command that ``argv`` names, and return the exit code."""
    args = parser.parse_args(argv)
    env = {**os.environ, **{name: value for name, value in vars(args).items() if name.isupper() and value is not None}}
    # Until a command has handlers of its own: its imports take a second, and the first process of a container
    # does not even die of a signal that it has no handler for.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    try:
        commands[args.command](args, env)
    except BackendPoolError as error:
        print(f"{parser.prog} {args.command}: {error}", file=sys.stderr)
        return 2 if isinstance(error, SettingsError | TargetError) else 1
    return 0


def add_flag(parser: ArgumentParser, flag: str, variable: str, text: str) -> None:
    """A flag that overrides ``variable``."""
    parser.add_argument(flag, dest=variable, metavar=variable.rpartition("_")[2], help=f"{text} [${variable}]")


def add_log_flags(parser: ArgumentParser) -> None:
    """Those that :func:`set_up_log` reads."""
    add_flag(parser, "--log-level", "LOG_LEVEL", "debug, info, warning or error (default: info)")
    add_flag(parser, "--log-format", "LOG_FORMAT", "text or json (default: text)")


def port_from(env: Mapping[str, str], name: str, default: int) -> int:
    """A TCP port from the environment; 0 asks the system for a free one."""
    text = env.get(name) or str(default)
    if not text.isdecimal() or int(text) > 65535:
        raise SettingsError(f"{name} is {text!r}: give a port number from 0 to 65535")
    return int(text)


def set_up_log(env: Mapping[str, str]) -> None:
    """Log as LOG_LEVEL and LOG_FORMAT say."""
    from backendpool.runtime.observability import configure_logging

    configure_logging(env.get("LOG_LEVEL") or "info", env.get("LOG_FORMAT") or "text")


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)

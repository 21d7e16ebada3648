"""The command ``python -m greet``: the server, the gateway in front of it, and a load on the gateway.

Settings come from the environment, for that is what a pod has; flags override them. Exit codes: 0 ended as
asked, 1 failed, 2 wrong usage or settings.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from backendpool.errors import BackendPoolError, SettingsError
from greet.settings import GatewaySettings, Mode, ServerSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sub-command that ``argv`` names, and return the exit code."""
    args = _parser().parse_args(argv)
    flags = {name: value for name, value in vars(args).items() if name.isupper() and value is not None}
    env = {**os.environ, **flags}
    try:
        _run(args, env)
    except BackendPoolError as error:
        print(f"greet {args.command}: {error}", file=sys.stderr)
        return 2 if isinstance(error, SettingsError) else 1
    except KeyboardInterrupt:
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="greet", description="Greetings over gRPC, and a REST gateway to them.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _server_flags(commands.add_parser("server", help="greet over gRPC, and say which pod did it"))
    _gateway_flags(commands.add_parser("gateway", help="take POST /greet, and call the greet servers"))
    _load_flags(commands.add_parser("load", help="call a gateway, and count what each pod answered"))
    return parser


def _server_flags(parser: argparse.ArgumentParser) -> None:
    _flag(parser, "--port", "GRPC_PORT", "gRPC port (default: 50051)")
    _flag(parser, "--pod-name", "POD_NAME", "name to sign greetings with (default: the host's name)")
    _flag(parser, "--pod-ip", "POD_IP", "address to sign greetings with (default: unknown)")
    _flag(parser, "--delay", "GREET_DELAY_SECONDS", "time that each greeting takes, in seconds (default: 0)")
    _common(parser)


def _gateway_flags(parser: argparse.ArgumentParser) -> None:
    modes = ", ".join(Mode)
    _flag(parser, "--mode", "GATEWAY_MODE", f"how backends are found: {modes} (default: {Mode.POOL})")
    _flag(parser, "--port", "GATEWAY_PORT", "HTTP port (default: 9091)")
    _flag(parser, "--server-host", "GRPC_SERVER_HOST", "sticky: host of the greet servers (default: localhost)")
    _flag(parser, "--server-port", "GRPC_SERVER_PORT", "sticky, dns, lookaside: their port (default: 50051)")
    _flag(parser, "--service", "GRPC_SVC", "dns, lookaside, pool: Service or pool (default: greetserver)")
    _flag(parser, "--namespace", "POD_NAMESPACE", "the pod's namespace, where it is looked for")
    _flag(parser, "--lookaside-host", "LB_SVC_NAME", "lookaside: its Service (default: greetserver-lookaside)")
    _flag(parser, "--lookaside-port", "LB_PORT", "lookaside: its port (default: 50055)")
    _flag(parser, "--timeout", "GREET_TIMEOUT_SECONDS", "deadline of a call that brings none, in seconds (default: 5)")
    _common(parser)


def _load_flags(parser: argparse.ArgumentParser) -> None:
    url = "http://greet-gateway:9091/greet"
    parser.add_argument("--url", default=url, help="what to call (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=0.0, help="calls a second; 0: one after another (default: 0)")
    parser.add_argument("--calls", type=int, help="end after so many calls (default: never)")
    parser.add_argument("--seconds", type=float, help="end after so many seconds (default: never)")
    parser.add_argument("--timeout", type=float, default=10.0, help="each call's, in seconds (default: 10)")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two lines (default: 1)")


def _common(parser: argparse.ArgumentParser) -> None:
    _flag(parser, "--drain", "DRAIN_SECONDS", "seconds to go on serving when asked to stop (default: 5)")
    _flag(parser, "--grace", "GRACE_SECONDS", "seconds that calls then still have to finish (default: 20)")
    _flag(parser, "--log-level", "LOG_LEVEL", "debug, info, warning or error (default: info)")
    _flag(parser, "--log-format", "LOG_FORMAT", "text or json (default: text)")


def _flag(parser: argparse.ArgumentParser, flag: str, variable: str, text: str) -> None:
    parser.add_argument(flag, dest=variable, metavar=variable.rpartition("_")[2], help=f"{text} [${variable}]")


def _run(args: argparse.Namespace, env: dict[str, str]) -> None:
    # Imported here: each part needs other libraries, and the other parts' may be missing.
    if args.command == "load":
        from greet import load

        settings = load.LoadSettings(args.url, args.rate, args.calls, args.seconds, args.timeout, args.interval)
        asyncio.run(load.run(settings))
        return

    from backendpool.observability import configure_logging

    configure_logging(env.get("LOG_LEVEL") or "info", env.get("LOG_FORMAT") or "text")
    if args.command == "server":
        from greet import server

        asyncio.run(server.serve(ServerSettings.from_env(env)))
    else:
        from greet.gateway import server as gateway

        asyncio.run(gateway.serve(GatewaySettings.from_env(env)))

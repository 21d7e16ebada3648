"""The command ``python -m greet``: the greet server, its REST gateway, and a load generator."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from typing import Final

from backendpool.runtime import cli_flags
from backendpool.runtime.cli_flags import add_flag, add_log_flags, set_up_log
from backendpool.runtime.extras import extra
from greet.settings import GatewaySettings, Mode, ServerSettings

CLONE: Final = "run make venv in a clone of the repository"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the subcommand in ``argv`` and return the exit code."""
    return cli_flags.main(_parser(), {"server": _server, "gateway": _gateway, "load": _load}, argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="greet", description="Run the example: greet server, REST gateway, load generator."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _server_flags(commands.add_parser("server", help="run the greet server; each greeting names its pod"))
    _gateway_flags(commands.add_parser("gateway", help="run the REST gateway: POST /greet calls a greet server"))
    _load_flags(commands.add_parser("load", help="send calls and count the answers of each pod"))
    return parser


def _server_flags(parser: argparse.ArgumentParser) -> None:
    add_flag(parser, "--port", "GRPC_PORT", "gRPC port (default: 50051)")
    add_flag(parser, "--pod-name", "POD_NAME", "pod name in the greeting (default: the host's name)")
    add_flag(parser, "--pod-ip", "POD_IP", "pod address in the greeting (default: unknown)")
    add_flag(parser, "--delay", "GREET_DELAY_SECONDS", "delay of each greeting in seconds (default: 0)")
    _common(parser)


def _gateway_flags(parser: argparse.ArgumentParser) -> None:
    modes = ", ".join(Mode)
    add_flag(parser, "--mode", "GATEWAY_MODE", f"how to find backends: {modes} (default: {Mode.POOL})")
    add_flag(parser, "--port", "GATEWAY_PORT", "HTTP port (default: 9091)")
    add_flag(parser, "--server-host", "GRPC_SERVER_HOST", "sticky: host of the greet servers (default: localhost)")
    server_port = "sticky, dns, lookaside: port of the greet servers (default: 50051)"
    add_flag(parser, "--server-port", "GRPC_SERVER_PORT", server_port)
    add_flag(parser, "--service", "GRPC_SVC", "dns, lookaside, pool, xds: Service or pool (default: greetserver)")
    add_flag(
        parser,
        "--namespace",
        "POD_NAMESPACE",
        "namespace of the Service or pool; required in modes lookaside, pool, watch, xds",
    )
    add_flag(
        parser,
        "--lookaside-host",
        "LB_SVC_NAME",
        "lookaside, watch: host of the lookaside (default: greetserver-lookaside)",
    )
    add_flag(parser, "--lookaside-port", "LB_PORT", "lookaside, watch: port of the lookaside (default: 50055)")
    timeout = "deadline in seconds of a call without a grpc-timeout header (default: 5)"
    add_flag(parser, "--timeout", "GREET_TIMEOUT_SECONDS", timeout)
    _common(parser)


def _load_flags(parser: argparse.ArgumentParser) -> None:
    url = "http://greet-gateway:9091/greet"
    parser.add_argument("--url", default=url, help="gateway or pool:///namespace/name to call (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=0.0, help="calls per second; 0: one after another (default: 0)")
    parser.add_argument("--calls", type=int, help="stop after this number of calls (default: never)")
    parser.add_argument("--seconds", type=float, help="stop after this number of seconds (default: never)")
    parser.add_argument("--timeout", type=float, default=10.0, help="timeout of each call in seconds (default: 10)")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between progress lines (default: 1)")
    wait = "maximum seconds to wait until the gateway accepts connections (default: 0)"
    parser.add_argument("--wait", type=float, default=0.0, help=wait)


def _common(parser: argparse.ArgumentParser) -> None:
    add_flag(parser, "--drain", "DRAIN_SECONDS", "seconds to keep serving after SIGTERM (default: 5)")
    add_flag(parser, "--grace", "GRACE_SECONDS", "seconds that calls in flight get after the drain (default: 20)")
    add_log_flags(parser)


def _server(args: argparse.Namespace, env: dict[str, str]) -> None:
    with extra("lookaside", CLONE):
        from greet import server
    set_up_log(env)
    asyncio.run(server.serve(ServerSettings.from_env(env)))


def _gateway(args: argparse.Namespace, env: dict[str, str]) -> None:
    with extra("lookaside", CLONE):
        from greet.gateway import server
    set_up_log(env)
    asyncio.run(server.serve(GatewaySettings.from_env(env)))


def _load(args: argparse.Namespace, env: dict[str, str]) -> None:
    with extra("lookaside", CLONE):
        from greet import load

    settings = load.LoadSettings(args.url, args.rate, args.calls, args.seconds, args.timeout, args.interval, args.wait)
    asyncio.run(load.run(settings))

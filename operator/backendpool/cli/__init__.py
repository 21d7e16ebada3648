"""The ``backendpool`` command and its sub-commands."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from backendpool import __version__
from backendpool.runtime import cli_flags
from backendpool.runtime.cli_flags import add_flag, add_log_flags, set_up_log
from backendpool.runtime.extras import extra


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sub-command; return the exit code."""
    commands = {"operator": _operator, "lookaside": _lookaside, "bootstrap": _bootstrap, "endpoints": _endpoints}
    return cli_flags.main(_parser(), commands, argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="backendpool", description="Balanced gRPC backends on Kubernetes, without a proxy or a sidecar."
    )
    parser.add_argument("--version", action="version", version=f"backendpool {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    operator = commands.add_parser("operator", help="run the operator: reconcile GrpcBackendPools")
    add_flag(operator, "--lookaside-image", "LOOKASIDE_IMAGE", "image of lookaside pods (required)")
    add_flag(operator, "--namespaces", "WATCH_NAMESPACES", "namespaces to serve, separated by commas (default: all)")
    lease = "namespace of the Lease for leader election; none: no election, a single operator (default: none)"
    add_flag(operator, "--lease-namespace", "LEASE_NAMESPACE", lease)
    rollouts = "maximum number of lookasides that start or update at the same time (default: 8)"
    add_flag(operator, "--max-rollouts", "MAX_ROLLOUTS", rollouts)
    _common(operator)

    lookaside = commands.add_parser("lookaside", help="run a pool's lookaside server: Resolve, Watch and xDS")
    add_flag(lookaside, "--pool", "POOL_NAME", "name of the pool (required)")
    add_flag(lookaside, "--namespace", "POOL_NAMESPACE", "namespace of the pool (required)")
    add_flag(lookaside, "--port", "LOOKASIDE_PORT", "gRPC port (default: 50055)")
    tls = "folder with tls.crt, tls.key and, for mutual TLS, ca.crt (default: none)"
    add_flag(lookaside, "--tls-folder", "LOOKASIDE_TLS_FOLDER", tls)
    _common(lookaside)

    _bootstrap_arguments(commands.add_parser("bootstrap", help="print the bootstrap file of xDS clients for a pool"))
    _endpoints_arguments(commands.add_parser("endpoints", help="print the backends of a pool as a client sees them"))
    return parser


def _bootstrap_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Print the bootstrap file with which gRPC's xDS clients follow a pool of the cluster."
    parser.add_argument("pool", help="name of the pool")
    parser.add_argument("--namespace", "-n", default="default", help="namespace of the pool (default: %(default)s)")
    parser.add_argument("--zone", default="", help="zone of the clients, for a pool with spec.locality (default: none)")
    without = "for a lookaside with TLS: clients send no certificate"
    parser.add_argument("--without-certificate", action="store_true", help=without)


def _endpoints_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Print the backends of a pool as a client on this machine sees them: whether they accept a connection, and the "
        "age of the list."
    )
    forms = "pool:///namespace/name, lookaside://host:port/namespace/name or file:///path"
    parser.add_argument("target", help=forms)
    parser.add_argument("--watch", "-w", action="store_true", help="keep running and print every change")
    patience = "seconds to wait for the list and the connections, without --watch (default: %(default)s)"
    parser.add_argument("--timeout", type=float, default=5.0, metavar="SECONDS", help=patience)
    tls = "for a lookaside with TLS: folder with ca.crt and, for mutual TLS, tls.crt and tls.key (default: none)"
    parser.add_argument("--tls-folder", type=Path, metavar="FOLDER", help=tls)


def _common(parser: argparse.ArgumentParser) -> None:
    add_flag(parser, "--metrics-port", "METRICS_PORT", "port of /healthz, /readyz and /metrics (default: 9090)")
    add_log_flags(parser)


def _operator(args: argparse.Namespace, env: dict[str, str]) -> None:
    with extra("operator"):
        from backendpool.controller import manager
        from backendpool.controller.settings import OperatorSettings
    set_up_log(env)
    settings = OperatorSettings.from_env(env)
    # A list allocates hundreds of thousands of containers and no garbage. Collecting after every 700 allocations,
    # Python's default, took a quarter of the CPU time of a start with a thousand pools.
    gc.set_threshold(20_000)
    # kopf decodes every object that the API server stores, and these may nest 10,000 levels deep.
    sys.setrecursionlimit(12_000)
    asyncio.run(manager.run(settings))


def _lookaside(args: argparse.Namespace, env: dict[str, str]) -> None:
    with extra("lookaside"):
        from backendpool.lookaside import server
        from backendpool.lookaside.settings import LookasideSettings
    set_up_log(env)
    settings = LookasideSettings.from_env(env)
    gc.set_threshold(20_000)
    asyncio.run(server.serve(settings))


def _bootstrap(args: argparse.Namespace, env: dict[str, str]) -> None:
    with extra("status"):
        from backendpool.k8s.client import Api
        from backendpool.k8s.resources import POOLS
    from backendpool.api.pool import parse_pool
    from backendpool.children.xds_bootstrap import bootstrap

    async def found() -> dict[str, Any]:
        async with await Api.connect(program="bootstrap") as api:
            return await api.get(POOLS, args.namespace, args.pool)

    document = bootstrap(parse_pool(asyncio.run(found())), args.zone, certificate=not args.without_certificate)
    print(json.dumps(document, indent=2))


def _endpoints(args: argparse.Namespace, env: dict[str, str]) -> None:
    from backendpool.cli import endpoints
    from backendpool.client import connect
    from backendpool.client._tls import credentials_in

    credentials = credentials_in(args.tls_folder) if args.tls_folder else None

    async def printed() -> None:
        async with connect(args.target, lookaside_credentials=credentials) as channel:
            if args.watch:
                await endpoints.follow(channel, partial(print, flush=True))
            print(await endpoints.look(channel, timeout=args.timeout))

    asyncio.run(printed())

"""The settings of server and gateway, from flags and the environment, checked before anything starts."""

from __future__ import annotations

import math
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from backendpool.errors import SettingsError
from backendpool.runtime.cli_flags import port_from

MAX_SECONDS: Final = 3600.0


class Mode(StrEnum):
    """How the gateway finds backends and spreads calls over them."""

    STICKY = "sticky"
    """One channel to one host: behind a ClusterIP, one pod gets all calls."""
    DNS = "dns"
    """The addresses that DNS has for a headless Service, in turn."""
    LOOKASIDE = "lookaside"
    """The address that the lookaside names for each call."""
    POOL = "pool"
    """The endpoints in a GrpcBackendPool's status, by watch."""
    WATCH = "watch"
    """The endpoints that the lookaside tells as they change."""
    XDS = "xds"
    """The endpoints that the lookaside tells gRPC's own xDS client."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where the server listens (all addresses of both families where ``host`` is empty), and who it is.

    ``delay_seconds`` is what each greeting takes. ``drain_seconds``: how long new calls are still taken after a
    request to stop, while the word of it travels through the cluster. ``grace_seconds``: how long calls under
    way may then go on.
    """

    pod_name: str
    pod_ip: str = "unknown"
    host: str = ""
    port: int = 50051
    delay_seconds: float = 0.0
    drain_seconds: float = 5.0
    grace_seconds: float = 20.0

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> ServerSettings:
        """Read GRPC_PORT, POD_NAME, POD_IP, GREET_DELAY_SECONDS, DRAIN_SECONDS and GRACE_SECONDS.

        Raises :class:`SettingsError` with the variable's name and what to do.
        """
        default = cls(pod_name=socket.gethostname())
        return cls(
            pod_name=env.get("POD_NAME") or default.pod_name,
            pod_ip=env.get("POD_IP") or default.pod_ip,
            port=port_from(env, "GRPC_PORT", default.port),
            delay_seconds=_seconds(env, "GREET_DELAY_SECONDS", default.delay_seconds),
            drain_seconds=_seconds(env, "DRAIN_SECONDS", default.drain_seconds),
            grace_seconds=_seconds(env, "GRACE_SECONDS", default.grace_seconds),
        )


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Where the gateway listens, and where its mode finds the greet servers.

    ``timeout_seconds`` is the deadline of a call that brings none; drain and grace are as the server's.
    """

    mode: Mode = Mode.POOL
    host: str = ""
    port: int = 9091
    server_host: str = "localhost"
    server_port: int = 50051
    service: str = "greetserver"
    namespace: str = ""
    lookaside_host: str = "greetserver-lookaside"
    lookaside_port: int = 50055
    timeout_seconds: float = 5.0
    drain_seconds: float = 5.0
    grace_seconds: float = 20.0

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> GatewaySettings:
        """Read GATEWAY_MODE, GATEWAY_PORT, GRPC_SERVER_HOST, GRPC_SERVER_PORT, GRPC_SVC, POD_NAMESPACE, LB_SVC_NAME,
        LB_PORT, GREET_TIMEOUT_SECONDS, DRAIN_SECONDS and GRACE_SECONDS.

        Raises :class:`SettingsError` with the variable's name and what to do.
        """
        default = cls()
        mode = _mode(env.get("GATEWAY_MODE") or default.mode)
        namespace = env.get("POD_NAMESPACE", "")
        if mode in (Mode.LOOKASIDE, Mode.POOL, Mode.WATCH, Mode.XDS) and not namespace:
            raise SettingsError(f"POD_NAMESPACE is not set: mode {mode} needs the namespace of the pool")
        if mode is Mode.XDS and not (env.get("GRPC_XDS_BOOTSTRAP") or env.get("GRPC_XDS_BOOTSTRAP_CONFIG")):
            raise SettingsError(
                "GRPC_XDS_BOOTSTRAP is not set: mode xds needs the bootstrap.json of the pool's ConfigMap, <pool>-xds"
            )
        return cls(
            mode=mode,
            port=port_from(env, "GATEWAY_PORT", default.port),
            server_host=env.get("GRPC_SERVER_HOST") or default.server_host,
            server_port=port_from(env, "GRPC_SERVER_PORT", default.server_port),
            service=env.get("GRPC_SVC") or default.service,
            namespace=namespace,
            lookaside_host=env.get("LB_SVC_NAME") or default.lookaside_host,
            lookaside_port=port_from(env, "LB_PORT", default.lookaside_port),
            timeout_seconds=_seconds(env, "GREET_TIMEOUT_SECONDS", default.timeout_seconds, above=0.0),
            drain_seconds=_seconds(env, "DRAIN_SECONDS", default.drain_seconds),
            grace_seconds=_seconds(env, "GRACE_SECONDS", default.grace_seconds),
        )


def _mode(text: str) -> Mode:
    for mode in Mode:
        if mode == text:
            return mode
    raise SettingsError(f"invalid GATEWAY_MODE {text!r}: expected one of {', '.join(Mode)}")


def _seconds(env: Mapping[str, str], name: str, default: float, *, above: float = -math.inf) -> float:
    text = env.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (above < value and 0.0 <= value <= MAX_SECONDS):
        least = "above 0" if above == 0.0 else "from 0"
        raise SettingsError(f"invalid {name} {text!r}: expected a number of seconds {least} to {MAX_SECONDS:.0f}")
    return value

"""Settings of the server and the gateway, validated when they are read."""

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
    """How the gateway finds backends and balances calls over them."""

    STICKY = "sticky"
    """One channel to one host. Behind a ClusterIP, one pod gets all calls."""
    DNS = "dns"
    """Round robin over the DNS records of a headless Service."""
    LOOKASIDE = "lookaside"
    """Resolve at the lookaside before each call."""
    POOL = "pool"
    """The client library, which watches the status of a GrpcBackendPool."""
    WATCH = "watch"
    """The client library, which follows the lookaside's Watch stream."""
    XDS = "xds"
    """gRPC's own xDS client, which follows the lookaside."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Settings of the greet server. An empty ``host`` means all IPv4 and IPv6 addresses.

    ``delay_seconds`` is the time that each greeting takes. After SIGTERM, the server accepts new calls for
    ``drain_seconds``, while clients learn that it terminates. Then calls in flight have ``grace_seconds`` to finish.
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

        Raises :class:`SettingsError` if a value is invalid, with the name of its variable.
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
    """Settings of the gateway: where it listens, and where its mode finds the greet servers.

    ``timeout_seconds`` is the deadline of calls without a ``grpc-timeout`` header. ``drain_seconds`` and
    ``grace_seconds`` work as in :class:`ServerSettings`.
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

        Raises :class:`SettingsError` if a value is invalid, with the name of its variable.
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

"""The lookaside's settings from the environment, validated before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backendpool.api.constants import LOOKASIDE_PORT, METRICS_PORT, is_label
from backendpool.errors import SettingsError
from backendpool.runtime.cli_flags import port_from


@dataclass(frozen=True, slots=True)
class LookasideSettings:
    """The pool to serve, the ports, and how to stop.

    ``host`` is the address to listen on; empty for all addresses of both families. ``tls_folder`` holds the certificate
    (see :mod:`~backendpool.lookaside.cert_watcher`); None for plaintext. On SIGTERM the server accepts calls for
    another ``drain_seconds``, while Kubernetes removes the pod from its Service. It then closes the streams within
    ``spread_seconds``, and gives other calls in flight ``grace_seconds`` to finish.
    """

    pool: str
    namespace: str
    port: int = LOOKASIDE_PORT
    metrics_port: int = METRICS_PORT
    host: str = ""
    tls_folder: Path | None = None
    drain_seconds: float = 3.0
    spread_seconds: float = 3.0
    grace_seconds: float = 5.0

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> LookasideSettings:
        """Read POOL_NAME, POOL_NAMESPACE, LOOKASIDE_PORT, LOOKASIDE_TLS_FOLDER and METRICS_PORT.

        Raises :class:`SettingsError`, which names the variable.
        """
        return cls(
            pool=_label(env, "POOL_NAME", "the name of the GrpcBackendPool whose endpoints to serve"),
            namespace=_label(env, "POOL_NAMESPACE", "the namespace of the GrpcBackendPool"),
            port=port_from(env, "LOOKASIDE_PORT", LOOKASIDE_PORT),
            metrics_port=port_from(env, "METRICS_PORT", METRICS_PORT),
            tls_folder=Path(folder) if (folder := env.get("LOOKASIDE_TLS_FOLDER")) else None,
        )


def _label(env: Mapping[str, str], variable: str, meaning: str) -> str:
    value = env.get(variable, "")
    if not value:
        raise SettingsError(f"{variable} is not set: expected {meaning}")
    if not is_label(value):
        raise SettingsError(f"invalid {variable} {value!r}: expected {meaning}, a valid Kubernetes name")
    return value

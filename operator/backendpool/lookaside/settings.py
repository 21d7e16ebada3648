"""The lookaside's settings, from flags and the environment, checked before anything starts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from backendpool.errors import SettingsError
from backendpool.names import LOOKASIDE_PORT, METRICS_PORT
from backendpool.settings import port_from

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1123


@dataclass(frozen=True, slots=True)
class LookasideSettings:
    """Whose endpoints to serve, and where.

    ``host`` is the address to listen on, all of both families where empty. ``drain_seconds``: how long new
    calls are still taken after a request to stop, while the word of it travels through the cluster.
    ``grace_seconds``: how long calls under way may then go on.
    """

    pool: str
    namespace: str
    port: int = LOOKASIDE_PORT
    metrics_port: int = METRICS_PORT
    host: str = ""
    drain_seconds: float = 3.0
    grace_seconds: float = 5.0

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> LookasideSettings:
        """Read POOL_NAME, POOL_NAMESPACE, LOOKASIDE_PORT and METRICS_PORT.

        Raises :class:`SettingsError` with the variable's name and what to do.
        """
        return cls(
            pool=_label(env, "POOL_NAME", "the name of the GrpcBackendPool whose endpoints to serve"),
            namespace=_label(env, "POOL_NAMESPACE", "the namespace of the GrpcBackendPool"),
            port=port_from(env, "LOOKASIDE_PORT", LOOKASIDE_PORT),
            metrics_port=port_from(env, "METRICS_PORT", METRICS_PORT),
        )


def _label(env: Mapping[str, str], variable: str, meaning: str) -> str:
    value = env.get(variable, "")
    if not value:
        raise SettingsError(f"{variable} is not set: give {meaning}")
    if not _LABEL.fullmatch(value):
        raise SettingsError(f"{variable} is {value!r}, which no Kubernetes object can be named: give {meaning}")
    return value

"""The operator's settings, from flags and the environment, validated at startup."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass

from backendpool.api.constants import METRICS_PORT, is_label
from backendpool.errors import SettingsError
from backendpool.runtime.cli_flags import port_from

MAX_ROLLOUTS = 8


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """``namespaces`` to serve (all if empty), and ``lookaside_image``, the image of lookaside pods.

    ``lease_namespace`` is the namespace of the Lease for leader election; without it, this process assumes that it is
    the only operator. ``max_rollouts`` is the number of lookasides that may roll out at the same time.
    """

    lookaside_image: str
    namespaces: tuple[str, ...] = ()
    metrics_port: int = METRICS_PORT
    instance: str = ""
    lease_namespace: str = ""
    max_rollouts: int = MAX_ROLLOUTS

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> OperatorSettings:
        """Read LOOKASIDE_IMAGE, WATCH_NAMESPACES, METRICS_PORT, POD_NAME, LEASE_NAMESPACE and MAX_ROLLOUTS.

        WATCH_NAMESPACES is comma-separated. Raises :class:`SettingsError`.
        """
        image = env.get("LOOKASIDE_IMAGE", "")
        if not image:
            raise SettingsError(
                "LOOKASIDE_IMAGE is not set: expected the image of lookaside pods, usually the operator's own"
            )
        return cls(
            lookaside_image=image,
            namespaces=_namespaces(env, "WATCH_NAMESPACES"),
            metrics_port=port_from(env, "METRICS_PORT", METRICS_PORT),
            instance=env.get("POD_NAME") or socket.gethostname(),
            lease_namespace=_namespace(env, "LEASE_NAMESPACE"),
            max_rollouts=_count(env, "MAX_ROLLOUTS", MAX_ROLLOUTS),
        )


def _count(env: Mapping[str, str], variable: str, default: int) -> int:
    text = env.get(variable) or str(default)
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise SettingsError(f"invalid {variable} {text!r}: expected a whole number from 1 to 1000")
    return int(text)


def _namespaces(env: Mapping[str, str], variable: str) -> tuple[str, ...]:
    names = {name.strip() for name in env.get(variable, "").split(",")} - {""}
    for name in sorted(names):
        if not is_label(name):
            raise SettingsError(f"invalid {variable}: {name!r} is no namespace; expected names separated by commas")
    return tuple(sorted(names))


def _namespace(env: Mapping[str, str], variable: str) -> str:
    names = _namespaces(env, variable)
    if len(names) > 1:
        raise SettingsError(f"invalid {variable}: expected at most one namespace, got {len(names)}")
    return "".join(names)

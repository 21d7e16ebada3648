"""Retry settings of a gRPC service config (gRFC A6), in the JSON form of gRPC's ``service_config.proto``.

Everything else in it is ignored: load balancing is configured by the pool.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from grpc import StatusCode

from backendpool.client._retry import RetryPolicy, RetryThrottle
from backendpool.errors import SettingsError

MAX_ATTEMPTS: Final = 5
"""Higher values of ``maxAttempts`` count as this (gRFC A6)."""

_CODES: Final = {name: code for code in StatusCode for name in (code.name, code.value[0])}


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """``policies`` by ``/package.Service/Method``, ``/package.Service/`` for a whole service, and ``/`` for all others.

    ``throttle`` is None if the config has no ``retryThrottling``.
    """

    policies: Mapping[str, RetryPolicy | None] = field(default_factory=dict)
    throttle: RetryThrottle | None = None

    def policy(self, method: str) -> RetryPolicy | None:
        """The policy of the most specific entry for ``method`` (``/package.Service/Method``)."""
        for name in (method, method[: method.rfind("/") + 1], "/"):
            if name in self.policies:
                return self.policies[name]
        return None


def parse_service_config(text: str) -> ServiceConfig:
    """Parse a service config; raises :class:`SettingsError` that names the invalid field."""
    try:
        config = json.loads(text)
        policies = {
            name: _policy(entry["retryPolicy"]) if "retryPolicy" in entry else None
            for entry in config.get("methodConfig", ())
            for name in _names(entry)
        }
        throttling = config.get("retryThrottling")
        return ServiceConfig(policies, _throttle(throttling) if throttling is not None else None)
    except KeyError as error:
        raise SettingsError(f"invalid service config: {error.args[0]} is missing or unknown") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise SettingsError(f"invalid service config: {error}") from error


def _names(entry: Mapping[str, Any]) -> Iterator[str]:
    for name in entry["name"]:
        service, method = name.get("service", ""), name.get("method", "")
        if method and not service:
            raise ValueError(f"method {method!r} has no service")
        yield f"/{service}/{method}" if service else "/"


def _policy(fields: Mapping[str, Any]) -> RetryPolicy:
    attempts = int(fields["maxAttempts"])
    policy = RetryPolicy(
        max_attempts=min(attempts, MAX_ATTEMPTS),
        initial_backoff=_seconds(fields["initialBackoff"]),
        max_backoff=_seconds(fields["maxBackoff"]),
        multiplier=float(fields["backoffMultiplier"]),
        codes=frozenset(_CODES[code] for code in fields["retryableStatusCodes"]),
    )
    if attempts < 2 or not policy.codes or min(policy.initial_backoff, policy.max_backoff, policy.multiplier) <= 0:
        raise ValueError("retryPolicy: maxAttempts must be 2 or more, retryableStatusCodes not empty, backoffs above 0")
    return policy


def _seconds(duration: str) -> float:
    """Parse a duration in protobuf's JSON form, ``0.5s``."""
    if not duration.endswith("s"):
        raise ValueError(f"invalid duration {duration!r}: expected a value such as 0.5s")
    return float(duration[:-1])


def _throttle(fields: Mapping[str, Any]) -> RetryThrottle:
    maximum, ratio = float(fields["maxTokens"]), float(fields["tokenRatio"])
    if not 0 < maximum <= 1000 or ratio <= 0:
        raise ValueError("retryThrottling: maxTokens must be from 1 to 1000, and tokenRatio above 0")
    return RetryThrottle(maximum, ratio)

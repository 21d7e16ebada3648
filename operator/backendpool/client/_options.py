"""A client's options, which override the load balancing of the pool's spec. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, TypeAlias, TypeVar

from backendpool.api.load_balancing import LoadBalancing, OutlierDetection, Policy, Preference
from backendpool.client._policies.slow_start import SlowStart
from backendpool.errors import SettingsError

DRAIN_SECONDS: Final = 30.0
"""Kubernetes' default terminationGracePeriodSeconds."""

E = TypeVar("E", bound=StrEnum)

NO_SLOW_START: Final = SlowStart()

HashKey: TypeAlias = Callable[[str, Mapping[str, str | bytes]], str | bytes | None]
"""Returns a call's hash key from its full method name and metadata; None if any backend will do."""

KeyOf: TypeAlias = Callable[[str, Iterable[Any] | None], bytes | None]
"""As :data:`HashKey`, from the metadata as grpc.aio takes it."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of one client; None means the pool's own setting.

    ``zone`` is the client's, empty if unknown. ``subset`` is the number of backends to connect to, 0 for all.
    ``drain_timeout`` is how many seconds calls may take on a backend that was removed.
    """

    policy: Policy | None = None
    outliers: OutlierDetection | None = None
    prefer: Preference | None = None
    hash_key: HashKey | None = None
    zone: str = ""
    subset: int = 0
    slow_start: SlowStart = NO_SLOW_START
    drain_timeout: float = DRAIN_SECONDS

    def over(self, balancing: LoadBalancing) -> LoadBalancing:
        """Return the load balancing in effect: the pool's ``balancing``, overridden by these options."""
        return replace(
            balancing,
            policy=self.policy or balancing.policy,
            outliers=self.outliers or balancing.outliers,
            prefer=self.prefer or balancing.prefer,
        )


DEFAULT: Final = Options()


def chosen(option: str, kind: type[E], value: E | str | None) -> E | None:
    """Return the member of ``kind`` named ``value``; raises :class:`~backendpool.errors.SettingsError`."""
    try:
        return None if value is None else kind(value)
    except ValueError:
        raise SettingsError(f"invalid {option} {value!r}: expected {', '.join(kind)}") from None


def key_of(balancing: LoadBalancing, hash_key: HashKey | None) -> KeyOf | None:
    """Return how a call's hash key is computed, or None; ``hash_key`` overrides the header of the pool's spec."""
    if balancing.policy is not Policy.CONSISTENT_HASH:
        return None
    if hash_key is not None:
        chosen = hash_key
        return lambda method, metadata: _bytes(chosen(method, dict(metadata or ())))
    header = balancing.hash_header.lower()
    return lambda _, metadata: _bytes(_joined(header, metadata or ())) if header else None


def _joined(header: str, metadata: Iterable[Any]) -> str | bytes | None:
    """Return the values of one key, joined by commas (gRFC A42)."""
    values = [value for name, value in metadata if name == header]
    return b",".join(_bytes(value) or b"" for value in values) if values else None


def _bytes(key: str | bytes | None) -> bytes | None:
    return key.encode() if isinstance(key, str) else key

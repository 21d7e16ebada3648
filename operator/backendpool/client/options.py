"""How a client spreads its calls, where it is to differ from what the pool's author asked for. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, TypeAlias, TypeVar

from backendpool.api.load_balancing import Balancing, OutlierDetection, Policy, Preference
from backendpool.client.policies.slow_start import SlowStart
from backendpool.errors import SettingsError

DRAIN_SECONDS: Final = 30.0
"""As long as Kubernetes gives a pod to end, unless it is told otherwise."""

E = TypeVar("E", bound=StrEnum)

NO_SLOW_START: Final = SlowStart()

HashKey: TypeAlias = Callable[[str, Mapping[str, str | bytes]], str | bytes | None]
"""The key of a call, of its full method name and its metadata; None for a call that may go anywhere."""

KeyOf: TypeAlias = Callable[[str, Iterable[Any] | None], bytes | None]
"""The key of a call, of its full method name and its metadata as grpc.aio takes it."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is None is as the pool has it.

    ``zone`` is the client's own, empty where it has none. ``subset`` is the number of backends to connect to, 0 for
    all. ``drain`` is in seconds: how long calls may take on a backend that left.
    """

    policy: Policy | None = None
    outliers: OutlierDetection | None = None
    prefer: Preference | None = None
    hash_key: HashKey | None = None
    zone: str = ""
    subset: int = 0
    slow_start: SlowStart = NO_SLOW_START
    drain: float = DRAIN_SECONDS

    def __post_init__(self) -> None:
        """Raises :class:`~backendpool.errors.SettingsError` for numbers below 0."""
        numbers = {"subset": self.subset, "slow_start": self.slow_start.window, "drain": self.drain}
        for name, number in numbers.items():
            if number < 0:
                raise SettingsError(f"{name} is {number}: give 0 or more")

    def over(self, balancing: Balancing) -> Balancing:
        """What is done: ``balancing`` is the pool's."""
        return replace(
            balancing,
            policy=self.policy or balancing.policy,
            outliers=self.outliers or balancing.outliers,
            prefer=self.prefer or balancing.prefer,
        )


DEFAULT: Final = Options()


def chosen(option: str, kind: type[E], value: E | str | None) -> E | None:
    """The one of ``kind`` that ``value`` names; raises :class:`~backendpool.errors.SettingsError` with what to give."""
    try:
        return None if value is None else kind(value)
    except ValueError:
        raise SettingsError(f"{option} is {value!r}: give {', '.join(kind)}") from None


def key_of(balancing: Balancing, hash_key: HashKey | None) -> KeyOf | None:
    """How keys are had; None where the policy needs none. ``hash_key`` goes before the pool's header."""
    if balancing.policy is not Policy.CONSISTENT_HASH:
        return None
    if hash_key is not None:
        chosen = hash_key
        return lambda method, metadata: _bytes(chosen(method, dict(metadata or ())))
    header = balancing.hash_header.lower()
    return lambda _, metadata: _bytes(_joined(header, metadata or ())) if header else None


def _joined(header: str, metadata: Iterable[Any]) -> str | bytes | None:
    """The values of one key, several of them joined by commas (gRFC A42)."""
    values = [value for name, value in metadata if name == header]
    return b",".join(_bytes(value) or b"" for value in values) if values else None


def _bytes(key: str | bytes | None) -> bytes | None:
    return key.encode() if isinstance(key, str) else key

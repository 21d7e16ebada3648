"""The key by which a call's backend is chosen, where the policy is consistent hashing. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from backendpool.api.load_balancing import Balancing, Policy
from backendpool.client.options import HashKey

KeyOf: TypeAlias = Callable[[str, Iterable[Any] | None], bytes | None]
"""The key of a call, of its full method name and its metadata as grpc.aio takes it."""


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

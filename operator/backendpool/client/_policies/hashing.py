"""A hash that is the same in every process."""

from __future__ import annotations

from hashlib import blake2b

from backendpool.client._policies.candidate import Identity


def hash64(data: bytes, salt: bytes = b"") -> int:
    """Return a 64-bit hash; ``salt`` has up to 64 bytes."""
    return int.from_bytes(blake2b(data, digest_size=8, key=salt).digest(), "big")


def encoded(identity: Identity) -> bytes:
    """Return the bytes of a backend that are hashed."""
    return "\0".join(map(str, identity)).encode()

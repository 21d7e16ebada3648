"""One hash for all who have to agree, whatever process they are in."""

from __future__ import annotations

from hashlib import blake2b

from backendpool.client.policies.candidate import Identity


def hash64(data: bytes, salt: bytes = b"") -> int:
    """A whole number below 2**64; another one for another ``salt``, of up to 64 bytes."""
    return int.from_bytes(blake2b(data, digest_size=8, key=salt).digest(), "big")


def encoded(identity: Identity) -> bytes:
    """What of a backend is hashed."""
    return "\0".join(map(str, identity)).encode()

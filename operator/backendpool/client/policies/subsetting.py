"""Of a large pool, a part for each client: gRFC A68, random subsetting by rendezvous hashing.

A connection from each client to each backend costs both of them, and makes what one client sees of one backend too
little to judge it by.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nsmallest
from typing import Protocol, TypeVar

from backendpool.client.policies.candidate import Identity
from backendpool.client.policies.hashing import encoded, hash64


class Identified(Protocol):
    @property
    def identity(self) -> Identity:
        """The same as long as it is the same backend."""


B = TypeVar("B", bound=Identified)


def subset(items: Iterable[B], size: int, salt: bytes) -> tuple[B, ...]:
    """``size`` of ``items``, in their order; all where there are no more.

    ``salt`` is the client's own: random, up to 64 bytes (A68 has 32), and the same for as long as the client lives.
    When a backend comes or goes, at most one other makes place for it, or takes its place.
    """
    everybody = tuple(items)
    if len(everybody) <= size:
        return everybody
    ranks = {item.identity: hash64(encoded(item.identity), salt) for item in everybody}
    chosen = set(nsmallest(size, ranks, key=ranks.__getitem__))
    return tuple(item for item in everybody if item.identity in chosen)

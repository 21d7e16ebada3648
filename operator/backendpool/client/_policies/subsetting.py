"""Random subsetting by rendezvous hashing (gRFC A68), for large pools.

A connection from each client to each backend costs both sides, and spreads a client's calls too thinly to judge a
backend by them.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nsmallest
from typing import Protocol, TypeVar

from backendpool.client._policies.candidate import Identity
from backendpool.client._policies.hashing import encoded, hash64


class Identified(Protocol):
    @property
    def identity(self) -> Identity:
        """Address, port and pod UID."""


B = TypeVar("B", bound=Identified)


def subset(items: Iterable[B], size: int, salt: bytes) -> tuple[B, ...]:
    """Choose ``size`` of the ``items`` and keep their order. Return all items if there are at most ``size``.

    ``salt`` is the client's: random, up to 64 bytes (A68 has 32), and constant for its lifetime. When a backend is
    added or removed, at most one other backend of the subset changes.
    """
    all_items = tuple(items)
    if len(all_items) <= size:
        return all_items
    ranks = {item.identity: hash64(encoded(item.identity), salt) for item in all_items}
    chosen = set(nsmallest(size, ranks, key=ranks.__getitem__))
    return tuple(item for item in all_items if item.identity in chosen)

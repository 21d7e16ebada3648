"""Calls with one key go to one backend, from all clients, as long as it is there.

It is the ring of gRFC A42, not Maglev's table: when a backend goes, the ring moves its keys and no others, while Maglev
moves some of everybody's, and has to build its table anew. Two things differ from A42. Each backend has the same number
of points whatever the size of the set, for where that follows the size, a change of it moves keys between those that
stay. And weights do not count: each client learns them from its own calls, and they would not agree.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Generic, TypeVar

from backendpool.client.policies.candidate import Candidate, Identity, RandomSource, preferred
from backendpool.client.policies.hashing import hash64
from backendpool.client.policies.ring import Ring

C = TypeVar("C", bound=Candidate)


class ConsistentHash(Generic[C]):
    """The backend that owns the key's place on the ring; any, for calls without a key.

    One to be avoided is passed over as though it were gone, so that all clients agree on the next, too.
    """

    __slots__ = ("_by_identity", "_items", "_random", "_ring")

    def __init__(self, source: RandomSource = random) -> None:
        self._random = source
        self._items: tuple[C, ...] = ()
        self._by_identity: dict[Identity, C] = {}
        self._ring = Ring()

    def replace(self, items: tuple[C, ...]) -> None:
        before, after = self._by_identity, {item.identity: item for item in items}
        self._items, self._by_identity = items, after
        for identity in before.keys() - after.keys():
            self._ring.remove(identity)
        for identity in after.keys() - before.keys():
            self._ring.add(identity)

    def refresh(self) -> None:
        """Nothing here goes by weights."""

    def pick(self, avoid: Collection[C] = (), key: bytes | None = None) -> C:
        if key is None:
            return self._random.choice(preferred(self._items, avoid))
        owners = map(self._by_identity.__getitem__, self._ring.owners(hash64(key)))
        first = next(owners)
        if first not in avoid:
            return first
        return next((owner for owner in owners if owner not in avoid), first)

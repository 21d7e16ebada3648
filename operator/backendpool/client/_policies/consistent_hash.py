"""The consistent hash policy: calls with the same key go to the same backend, from all clients.

It is the ring hash of gRFC A42, not Maglev: when a backend is removed, a ring moves only its keys, while Maglev moves
some keys of all backends and rebuilds its table. There are two differences from A42. Each backend has the same number
of points whatever the size of the set: if that depended on the size, a change would move keys between backends that
stay. And weights are ignored: each client learns them from its own calls, so that clients would disagree.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Generic, TypeVar

from backendpool.client._policies.candidate import Candidate, Identity, RandomSource, preferred
from backendpool.client._policies.hashing import hash64
from backendpool.client._policies.ring import Ring

C = TypeVar("C", bound=Candidate)


class ConsistentHash(Generic[C]):
    """Picks the owner of the key on the ring, and a random backend for calls without a key.

    A backend to avoid is skipped as if it had been removed, so that all clients agree on the next one too.
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
        """Do nothing: weights are not used."""

    def pick(self, avoid: Collection[C] = (), key: bytes | None = None) -> C:
        if key is None:
            return self._random.choice(preferred(self._items, avoid))
        owners = map(self._by_identity.__getitem__, self._ring.owners(hash64(key)))
        first = next(owners)
        if first not in avoid:
            return first
        return next((owner for owner in owners if owner not in avoid), first)

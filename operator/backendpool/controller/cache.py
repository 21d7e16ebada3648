"""What the operator knows of the cluster: pools, their children and their EndpointSlices.

Written by the watches (kopf's for pools, our reflectors' for the rest), read by ``reconcile``. Each write
names the pool that it concerns, so that the pool is looked at again.

The API server's answers to our own writes are noted as well, for they are here before the watch brings them. They
only make newer what is held: what there is, the watches say. An answer may be read after the watch has told that
the object is gone, and nothing would ever take out what it put in.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

from backendpool.api.constants import POOL_LABEL
from backendpool.api.endpoint_slices import Later, SettledSlices
from backendpool.api.endpoints import Slice
from backendpool.api.pool import Pool, PoolKey
from backendpool.k8s.store import is_newer, version_of

ChildKey = tuple[str, str]
"""Kind and name of a child."""
Live = Mapping[str, Any]
"""An object as the API server sends it."""


@dataclass(frozen=True, slots=True)
class _AtRest:
    """A pool whose status is kept as text: as objects it takes four times the memory, and is nearly all of a pool."""

    pool: Pool
    status: str

    @classmethod
    def of(cls, pool: Pool) -> Self:
        return cls(replace(pool, status={}), json.dumps(pool.status, separators=(",", ":"), sort_keys=True))

    def awake(self) -> Pool:
        return replace(self.pool, status=json.loads(self.status))

    def says_the_same(self, other: Self) -> bool:
        """Equal but for the resource version."""
        return replace(self, pool=replace(self.pool, resource_version=other.pool.resource_version)) == other


class Cache:
    """Pools with all that belongs to them, by the pool's namespace and name; ``later`` is the event loop's timer."""

    def __init__(self, changed: Callable[[PoolKey], None], later: Later) -> None:
        self._changed = changed
        self._later = later
        self._pools: dict[PoolKey, _AtRest] = {}
        self._slices: dict[PoolKey, SettledSlices] = {}
        self._children: dict[PoolKey, dict[ChildKey, Live]] = defaultdict(dict)

    def pools(self) -> Mapping[PoolKey, Pool]:
        """All of them, without their statuses."""
        return {key: held.pool for key, held in self._pools.items()}

    def pool(self, key: PoolKey) -> Pool | None:
        held = self._pools.get(key)
        return held.awake() if held else None

    def slices(self, key: PoolKey) -> tuple[Slice, ...]:
        return tuple(self._slices.get(key, ()))

    def children(self, key: PoolKey) -> Mapping[ChildKey, Live]:
        return self._children.get(key, {})

    def put_pool(self, pool: Pool) -> None:
        """Take a pool as the watch brought it; an older reading, or one that says nothing new, concerns nobody."""
        held = self._pools.get(pool.key)
        if held is None or is_newer(pool.resource_version, held.pool.resource_version):
            new = self._pools[pool.key] = _AtRest.of(pool)
            if held is None or not held.says_the_same(new):
                self._changed(pool.key)

    def note_pool(self, pool: Pool) -> None:
        """Take a pool as the API server answered, before the watch brings it."""
        held = self._pools.get(pool.key)
        if held is not None and is_newer(pool.resource_version, held.pool.resource_version):
            self._pools[pool.key] = _AtRest.of(pool)

    def drop_pool(self, pool: Pool) -> None:
        """A pool is gone; one of its name that was made since then stays, for kopf tells of the two in any order."""
        held = self._pools.get(pool.key)
        if held is not None and held.pool.uid == pool.uid:
            del self._pools[pool.key]
            self._changed(pool.key)

    def put_slice(self, old: Slice | None, new: Slice | None) -> None:
        """A slice came, changed or went; one that changed its Service concerns two pools."""
        if (
            old is not None
            and (new is None or _service_of(new) != _service_of(old))
            and (shelf := self._slices.get(_service_of(old)))
        ):
            shelf.put(old.name, None)
        if new is not None:
            key = _service_of(new)
            if key not in self._slices:
                self._slices[key] = SettledSlices(partial(self._slices_changed, key), self._later)
            self._slices[key].put(new.name, new)

    def put_child(self, old: Live | None, new: Live | None) -> None:
        """A child came, changed or went; one that changed its label concerns two pools."""
        if old is not None and (new is None or _pool_of(new) != _pool_of(old)):
            held = self._held(old)
            # The name may stand for another child by now, made anew by us and not yet brought by the watch.
            if held is not None and held["metadata"]["uid"] == old["metadata"]["uid"]:
                self._take_out(_pool_of(old), _ref_of(old))
            self._changed(_pool_of(old))
        if new is not None:
            held = self._held(new)
            if held is None or not is_newer(version_of(held), version_of(new)):
                self._children[_pool_of(new)][_ref_of(new)] = new
            self._changed(_pool_of(new))

    def note_child(self, child: Live) -> None:
        """Take a child as the API server answered to an apply, before the watch brings it."""
        held = self._held(child)
        if held is not None and is_newer(version_of(child), version_of(held)):
            self._children[_pool_of(child)][_ref_of(child)] = child

    def _slices_changed(self, key: PoolKey) -> None:
        if not self._slices[key]:
            del self._slices[key]
        self._changed(key)

    def _take_out(self, key: PoolKey, ref: ChildKey) -> None:
        shelf = self._children[key]
        del shelf[ref]
        if not shelf:
            del self._children[key]

    def _held(self, child: Live) -> Live | None:
        return self.children(_pool_of(child)).get(_ref_of(child))


def _service_of(one: Slice) -> PoolKey:
    return (one.namespace, one.service)


def _pool_of(child: Live) -> PoolKey:
    meta = child["metadata"]
    return (meta["namespace"], (meta.get("labels") or {}).get(POOL_LABEL, ""))


def _ref_of(child: Live) -> ChildKey:
    return (child["kind"], child["metadata"]["name"])

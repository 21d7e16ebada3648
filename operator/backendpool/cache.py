"""What the operator knows of the cluster: pools, their children and their EndpointSlices.

Written by the watches (kopf's for pools, our reflectors' for the rest), read by ``reconcile``. Each write
names the pool that it concerns, so that the pool is looked at again.

The API server's answers to our own writes are noted as well, for they are here before the watch brings them. They
only make newer what is held: what there is, the watches say. An answer may be read after the watch has told that
the object is gone, and nothing would ever take out what it put in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from backendpool.endpoints import Slice
from backendpool.names import POOL_LABEL
from backendpool.pool import Pool

PoolKey = tuple[str, str]
"""Namespace and name of a pool."""
ChildKey = tuple[str, str]
"""Kind and name of a child."""
Live = Mapping[str, Any]
"""An object as the API server sends it."""

K = TypeVar("K")
V = TypeVar("V")


class Cache:
    """Pools with all that belongs to them, by the pool's namespace and name."""

    def __init__(self, changed: Callable[[PoolKey], None]) -> None:
        self._changed = changed
        self._pools: dict[PoolKey, Pool] = {}
        self._slices: dict[PoolKey, dict[str, Slice]] = defaultdict(dict)
        self._children: dict[PoolKey, dict[ChildKey, Live]] = defaultdict(dict)

    def pools(self) -> Mapping[PoolKey, Pool]:
        return self._pools

    def pool(self, key: PoolKey) -> Pool | None:
        return self._pools.get(key)

    def slices(self, key: PoolKey) -> tuple[Slice, ...]:
        return tuple(self._slices.get(key, {}).values())

    def children(self, key: PoolKey) -> Mapping[ChildKey, Live]:
        return self._children.get(key, {})

    def put_pool(self, pool: Pool) -> None:
        """Take a pool as the watch brought it; an older reading, or one that says nothing new, concerns nobody."""
        held = self._pools.get(pool.key)
        if held is None or _is_newer(pool.resource_version, held.resource_version):
            self._pools[pool.key] = pool
            if held is None or replace(held, resource_version=pool.resource_version) != pool:
                self._changed(pool.key)

    def note_pool(self, pool: Pool) -> None:
        """Take a pool as the API server answered, before the watch brings it."""
        held = self._pools.get(pool.key)
        if held is not None and _is_newer(pool.resource_version, held.resource_version):
            self._pools[pool.key] = pool

    def drop_pool(self, pool: Pool) -> None:
        """A pool is gone; one of its name that was made since then stays, for kopf tells of the two in any order."""
        held = self._pools.get(pool.key)
        if held is not None and held.uid == pool.uid:
            del self._pools[pool.key]
            self._changed(pool.key)

    def put_slice(self, old: Slice | None, new: Slice | None) -> None:
        """A slice came, changed or went; one that changed its Service concerns two pools."""
        if old is not None and (new is None or _service_of(new) != _service_of(old)):
            _take_out(self._slices, _service_of(old), old.name)
            self._changed(_service_of(old))
        if new is not None:
            self._slices[_service_of(new)][new.name] = new
            self._changed(_service_of(new))

    def put_child(self, old: Live | None, new: Live | None) -> None:
        """A child came, changed or went; one that changed its label concerns two pools."""
        if old is not None and (new is None or _pool_of(new) != _pool_of(old)):
            held = self._held(old)
            # The name may stand for another child by now, made anew by us and not yet brought by the watch.
            if held is not None and held["metadata"]["uid"] == old["metadata"]["uid"]:
                _take_out(self._children, _pool_of(old), _ref_of(old))
            self._changed(_pool_of(old))
        if new is not None:
            held = self._held(new)
            if held is None or not _is_newer(_version_of(held), _version_of(new)):
                self._children[_pool_of(new)][_ref_of(new)] = new
            self._changed(_pool_of(new))

    def note_child(self, child: Live) -> None:
        """Take a child as the API server answered to an apply, before the watch brings it."""
        held = self._held(child)
        if held is not None and _is_newer(_version_of(child), _version_of(held)):
            self._children[_pool_of(child)][_ref_of(child)] = child

    def _held(self, child: Live) -> Live | None:
        return self.children(_pool_of(child)).get(_ref_of(child))


def _is_newer(version: str, than: str) -> bool:
    """Resource versions of one kind compare as integers (KEP-5504)."""
    return int(version) > int(than)


def _service_of(one: Slice) -> PoolKey:
    return (one.namespace, one.service)


def _pool_of(child: Live) -> PoolKey:
    meta = child["metadata"]
    return (meta["namespace"], (meta.get("labels") or {}).get(POOL_LABEL, ""))


def _ref_of(child: Live) -> ChildKey:
    return (child["kind"], child["metadata"]["name"])


def _version_of(child: Live) -> str:
    version: str = child["metadata"]["resourceVersion"]
    return version


def _take_out(shelves: dict[PoolKey, dict[K, V]], key: PoolKey, name: K) -> None:
    """Remove one entry, and leave no empty shelf behind."""
    shelf = shelves.get(key, {})
    shelf.pop(name, None)
    if not shelf:
        shelves.pop(key, None)

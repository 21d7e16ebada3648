"""The operator's cache: pools, their children and their EndpointSlices.

The informers write it (kopf's for pools, reflectors for the rest), ``reconcile`` reads it. Each change calls
``changed`` with the pool that it concerns, so that the pool is reconciled.

``note_pool`` and ``note_child`` take the API server's responses to the operator's own writes, which arrive before the
watch event. They only replace an older version of an object that is there: a response may be read after the watch has
reported that the object was deleted, and nothing would ever remove it again.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

from backendpool.api.constants import POOL_LABEL
from backendpool.api.endpoint_slices import CallLater, Slice, SliceTracker
from backendpool.api.pool import Pool, PoolKey
from backendpool.children.manifest import ChildRef, KubernetesObject, ref_of
from backendpool.k8s.store import is_newer, version_of


@dataclass(frozen=True, slots=True)
class _CompressedPool:
    """A pool whose status is kept as JSON text, in a quarter of the memory of the parsed status."""

    pool: Pool
    status: str

    @classmethod
    def of(cls, pool: Pool) -> Self:
        return cls(replace(pool, status={}), json.dumps(pool.status, separators=(",", ":"), sort_keys=True))

    def decompress(self) -> Pool:
        return replace(self.pool, status=json.loads(self.status))

    def equals_but_for_version(self, other: Self) -> bool:
        return replace(self, pool=replace(self.pool, resource_version=other.pool.resource_version)) == other


class Cache:
    """Pools, their children and their slices, by namespace and name of the pool."""

    def __init__(self, changed: Callable[[PoolKey], None], call_later: CallLater) -> None:
        self._changed = changed
        self._call_later = call_later
        self._pools: dict[PoolKey, _CompressedPool] = {}
        self._slices: dict[PoolKey, SliceTracker] = {}
        self._children: dict[PoolKey, dict[ChildRef, KubernetesObject]] = defaultdict(dict)

    def pools(self) -> Mapping[PoolKey, Pool]:
        """Return all pools, without their statuses."""
        return {key: held.pool for key, held in self._pools.items()}

    def pool(self, key: PoolKey) -> Pool | None:
        held = self._pools.get(key)
        return held.decompress() if held else None

    def slices(self, key: PoolKey) -> tuple[Slice, ...]:
        return tuple(self._slices.get(key, ()))

    def children(self, key: PoolKey) -> Mapping[ChildRef, KubernetesObject]:
        return self._children.get(key, {})

    def put_pool(self, pool: Pool) -> None:
        """Store a pool from the watch or a list, unless it is older; a new version alone is no change."""
        held = self._pools.get(pool.key)
        if held is None or is_newer(pool.resource_version, held.pool.resource_version):
            new = self._pools[pool.key] = _CompressedPool.of(pool)
            if held is None or not held.equals_but_for_version(new):
                self._changed(pool.key)

    def note_pool(self, pool: Pool) -> None:
        """Store a pool from a response to a write."""
        held = self._pools.get(pool.key)
        if held is not None and is_newer(pool.resource_version, held.pool.resource_version):
            self._pools[pool.key] = _CompressedPool.of(pool)

    def drop_pool(self, pool: Pool) -> None:
        """Remove a deleted pool unless a newer one has its name: kopf may report the two in any order."""
        held = self._pools.get(pool.key)
        if held is not None and held.pool.uid == pool.uid:
            del self._pools[pool.key]
            self._changed(pool.key)

    def put_slice(self, old: Slice | None, new: Slice | None) -> None:
        """Apply the change of a slice; one that changes its Service concerns two pools."""
        if (
            old is not None
            and (new is None or _service_of(new) != _service_of(old))
            and (tracker := self._slices.get(_service_of(old)))
        ):
            tracker.delete(old.name)
        if new is not None:
            key = _service_of(new)
            if key not in self._slices:
                self._slices[key] = SliceTracker(partial(self._slices_changed, key), self._call_later)
            self._slices[key].put(new)

    def put_child(self, old: KubernetesObject | None, new: KubernetesObject | None) -> None:
        """Apply the change of a child; one that changes its pool label concerns two pools."""
        if old is not None and (new is None or _pool_of(new) != _pool_of(old)):
            held = self._held(old)
            # The operator may have recreated it, and the watch not reported that yet.
            if held is not None and held["metadata"]["uid"] == old["metadata"]["uid"]:
                self._remove_child(old)
            self._changed(_pool_of(old))
        if new is not None:
            held = self._held(new)
            if held is None or not is_newer(version_of(held), version_of(new)):
                self._children[_pool_of(new)][ref_of(new)] = new
            self._changed(_pool_of(new))

    def note_child(self, child: KubernetesObject) -> None:
        """Store a child from a response to a write."""
        held = self._held(child)
        if held is not None and is_newer(version_of(child), version_of(held)):
            self._children[_pool_of(child)][ref_of(child)] = child

    def _slices_changed(self, key: PoolKey) -> None:
        if not self._slices[key]:
            del self._slices[key]
        self._changed(key)

    def _remove_child(self, child: KubernetesObject) -> None:
        children = self._children[_pool_of(child)]
        del children[ref_of(child)]
        if not children:
            del self._children[_pool_of(child)]

    def _held(self, child: KubernetesObject) -> KubernetesObject | None:
        return self.children(_pool_of(child)).get(ref_of(child))


def _service_of(one: Slice) -> PoolKey:
    return (one.namespace, one.service)


def _pool_of(child: KubernetesObject) -> PoolKey:
    meta = child["metadata"]
    return (meta["namespace"], (meta.get("labels") or {}).get(POOL_LABEL, ""))

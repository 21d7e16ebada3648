"""A cache that follows EndpointSlices through a store, as in the operator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from backendpool.api.endpoint_slices import REMOVAL_GRACE_SECONDS, Slice, parse_slice, union
from backendpool.api.endpoints import EndpointSet
from backendpool.api.pool import PoolKey
from backendpool.controller.cache import Cache
from backendpool.k8s.store import Store
from tests.fakes.clock import FakeClock
from tests.fakes.objects import CONDITIONS, Document, endpoint_slice, slice_endpoint

SERVICES = [("shop", "greetserver"), ("shop", "other"), ("mall", "greetserver")]


def slice_of(
    key: PoolKey, name: str, pods: Mapping[int, str] | Iterable[int], port: int = 50051, uid: str = "u"
) -> Document:
    """Return a slice of the Service ``key`` with these pods: a name in ``CONDITIONS`` by number, or ready ones."""
    namespace, service = key
    states = pods if isinstance(pods, Mapping) else dict.fromkeys(pods, "ready")
    endpoints = [
        slice_endpoint(f"10.0.0.{pod}", pod_name=f"p{pod}", pod_uid=f"{uid}{pod}", conditions=CONDITIONS[state])
        for pod, state in states.items()
    ]
    return endpoint_slice(*endpoints, name=name, namespace=namespace, service=service, port=port)


class FollowedCache:
    """A real store and a real cache; after each change, the union of the pool's slices is published."""

    def __init__(self) -> None:
        self.changed: list[PoolKey] = []
        self.revision = 0
        self.published: dict[PoolKey, EndpointSet] = {}
        self.clock = FakeClock()
        self.cache = Cache(self._publish, self.clock.call_later)
        self.store: Store[Slice] = Store(parse_slice, self._put_slice)

    def endpoints(self, key: PoolKey) -> EndpointSet:
        """Return the published endpoints."""
        return self.published.get(key, EndpointSet.of(()))

    def live(self, key: PoolKey) -> EndpointSet:
        """Return the endpoints of the latest slices, without those in their removal grace."""
        return union(one for one in self.store.items.values() if (one.namespace, one.service) == key)

    def put(self, doc: Document) -> None:
        """Add or change a slice."""
        self.store.put(self.stamped(doc))

    def drop(self, doc: Document) -> None:
        """Delete a slice."""
        self.store.delete(self.stamped(doc))

    def relist(self, documents: list[Document]) -> None:
        """Replace all slices."""
        self.store.replace(self.store.parse_page(documents), str(self.revision))

    def stamped(self, doc: Document) -> Document:
        """Return the slice with the next resource version."""
        self.revision += 1
        return {**doc, "metadata": {**doc["metadata"], "resourceVersion": str(self.revision)}}

    def pass_grace(self) -> None:
        """Advance the clock past the removal grace."""
        self.clock.advance(REMOVAL_GRACE_SECONDS)

    def _publish(self, key: PoolKey) -> None:
        self.changed.append(key)
        self.published[key] = union(self.cache.slices(key))

    def _put_slice(self, old: Slice | None, new: Slice | None) -> None:
        self.cache.put_slice(old, new)

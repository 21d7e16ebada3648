"""A follower of EndpointSlices, and what it is told: view, cache and union are the real ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from backendpool.api.endpoint_slices import REMOVAL_GRACE_SECONDS, Slice, parse_slice, union
from backendpool.api.endpoints import EndpointSet
from backendpool.api.pool import PoolKey
from backendpool.controller.cache import Cache
from backendpool.k8s.store import Store
from tests.fakes.clock import FakeClock

Document = dict[str, Any]

SERVICES = [("shop", "greetserver"), ("shop", "other"), ("mall", "greetserver")]

CONDITIONS: dict[str, dict[str, bool]] = {
    "ready": {"ready": True},
    "unready": {"ready": False},
    "draining": {"ready": False, "serving": True, "terminating": True},
    "ended": {"ready": False, "serving": False, "terminating": True},
    # With publishNotReadyAddresses.
    "published": {"ready": True, "serving": False, "terminating": False},
    "published draining": {"ready": True, "serving": True, "terminating": True},
}


def document(
    key: PoolKey, name: str, pods: Mapping[int, str] | Iterable[int], port: int = 50051, uid: str = "u"
) -> Document:
    """An EndpointSlice of the Service ``key`` with these pods; ready, where their conditions are not given."""
    namespace, service = key
    states = pods if isinstance(pods, Mapping) else dict.fromkeys(pods, "ready")
    return {
        "metadata": {"namespace": namespace, "name": name, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "grpc", "port": port}],
        "endpoints": [
            {
                "addresses": [f"10.0.0.{pod}"],
                "conditions": CONDITIONS[state],
                "targetRef": {"kind": "Pod", "name": f"p{pod}", "uid": f"{uid}{pod}"},
            }
            for pod, state in states.items()
        ],
    }


class FollowedCache:
    """The real view and cache; each change that they tell is published, the union of what they hold."""

    def __init__(self) -> None:
        self.told: list[PoolKey] = []
        self.revision = 0
        self.published: dict[PoolKey, EndpointSet] = {}
        self.clock = FakeClock()
        self.cache = Cache(self._publish, self.clock.call_later)
        self.view: Store[Slice] = Store(parse_slice, self._changed)

    def endpoints(self, key: PoolKey) -> EndpointSet:
        return self.published.get(key, EndpointSet.of(()))

    def live(self, key: PoolKey) -> EndpointSet:
        """What the slices list that were told last."""
        return union(one for one in self.view.items.values() if (one.namespace, one.service) == key)

    def put(self, doc: Document) -> None:
        """A slice comes or changes now."""
        self.view.put(self.stamped(doc))

    def drop(self, doc: Document) -> None:
        """A slice goes now."""
        self.view.delete(self.stamped(doc))

    def relist(self, documents: list[Document]) -> None:
        """These are all slices that there are now."""
        self.view.replace(self.view.parse_page(documents), str(self.revision))

    def stamped(self, doc: Document) -> Document:
        """The slice as of now: each change has the next resource version."""
        self.revision += 1
        return {**doc, "metadata": {**doc["metadata"], "resourceVersion": str(self.revision)}}

    def settle(self) -> None:
        self.clock.advance(REMOVAL_GRACE_SECONDS)

    def _publish(self, key: PoolKey) -> None:
        self.told.append(key)
        self.published[key] = union(self.cache.slices(key))

    def _changed(self, old: Slice | None, new: Slice | None) -> None:
        self.cache.put_slice(old, new)

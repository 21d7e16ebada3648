"""The resources of a pool at one moment, serialised once for all streams that they are sent on. Pure.

A version names content: replicas of one pool have equal ones, and what a client is sent that it has from another
replica is no change to it. Responses are put together from bytes: concatenated messages of protobuf are one message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from envoy.service.discovery.v3.discovery_pb2 import Resource as DeltaResource
from google.protobuf.message import Message

from backendpool.api.pool import PoolView
from backendpool.lookaside.xds.names import CLUSTER, ENDPOINTS, LISTENER, ROUTES, PoolName
from backendpool.lookaside.xds.resources import cluster, listener, load_assignment, packed, route_configuration

_LONGEST_MEMORY = 100  # entries: clients use a few names each, and none may make us remember at will


@dataclass(frozen=True)
class Resource:
    """One resource, and the ``version`` that names its content."""

    name: str
    message: Message

    @cached_property
    def version(self) -> str:
        return _digest([self.message.SerializeToString(deterministic=True)])

    @cached_property
    def whole(self) -> bytes:
        """As a state-of-the-world response holds it."""
        return DiscoveryResponse(resources=[packed(self.message)]).SerializeToString(deterministic=True)

    @cached_property
    def incremental(self) -> bytes:
        """As a delta response holds it."""
        item = DeltaResource(name=self.name, version=self.version, resource=packed(self.message))
        return DeltaDiscoveryResponse(resources=[item]).SerializeToString(deterministic=True)


class Snapshot:
    """What clients in one ``zone`` are to have; each resource is made when it is first asked for."""

    def __init__(self, pool: PoolName, view: PoolView, zone: str) -> None:
        self._pool = pool
        self._view = view
        self._zone = zone
        self._resources: dict[tuple[str, str], Resource] = {}
        self._states: dict[tuple[str, frozenset[str]], bytes] = {}

    def find(self, type_url: str, name: str) -> Resource | None:
        """The resource, None where there is none of that type and name."""
        make = _MAKERS.get(type_url)
        if make is None or not self._pool.is_meant_by(name):
            return None
        found = self._resources.get((type_url, name))
        if found is None:
            found = Resource(name, make(self, name))
            if len(self._resources) < _LONGEST_MEMORY:
                self._resources[type_url, name] = found
        return found

    def all_names(self, type_url: str) -> frozenset[str]:
        """What a client gets that asks for all there is of a type.

        No listeners: ours are for gRPC's clients, which ask by name, and Envoy would refuse them.
        """
        return frozenset([str(self._pool)]) if type_url == CLUSTER else frozenset()

    def state(self, type_url: str, names: frozenset[str]) -> bytes:
        """The response that holds all resources of these names, but for its nonce; its version is of all together."""
        key = (type_url, names)
        found = self._states.get(key)
        if found is None:
            resources = [one for one in (self.find(type_url, name) for name in sorted(names)) if one]
            version = _digest(part for one in resources for part in (one.name.encode(), one.version.encode()))
            head = DiscoveryResponse(version_info=version, type_url=type_url).SerializeToString()
            found = b"".join([head, *(one.whole for one in resources)])
            if len(self._states) < _LONGEST_MEMORY:
                self._states[key] = found
        return found

    def _listener(self, name: str) -> Message:
        return listener(name, str(self._pool))

    def _routes(self, name: str) -> Message:
        return route_configuration(name, str(self._pool), self._view.balancing)

    def _cluster(self, name: str) -> Message:
        return cluster(name, self._view.balancing)

    def _endpoints(self, name: str) -> Message:
        return load_assignment(name, self._view.endpoints, self._view.balancing.prefer, self._zone)


_MAKERS: Mapping[str, Callable[[Snapshot, str], Message]] = {
    LISTENER: Snapshot._listener,
    ROUTES: Snapshot._routes,
    CLUSTER: Snapshot._cluster,
    ENDPOINTS: Snapshot._endpoints,
}


class Publication:
    """A view of the pool as all clients are to have it, wherever they are."""

    def __init__(self, pool: PoolName, view: PoolView) -> None:
        self._pool = pool
        self._view = view
        self._snapshots: dict[str, Snapshot] = {}

    def snapshot(self, zone: str) -> Snapshot:
        """For clients in that zone; they share one where zones make no difference."""
        known = self._view.balancing.prefer is not None and zone in self._zones
        key = zone if known else ""
        if key not in self._snapshots:
            self._snapshots[key] = Snapshot(self._pool, self._view, key)
        return self._snapshots[key]

    @cached_property
    def _zones(self) -> frozenset[str]:
        return frozenset(endpoint.zone for endpoint in self._view.endpoints.endpoints)


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.hexdigest()[:16]

"""Snapshots of a pool's resources, encoded once for all streams. Pure.

A version is a hash of the content, so it is equal on all replicas of a lookaside, and a client that moves to another
replica sees no change. Responses are concatenated from encoded parts: concatenated protobuf messages are one message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from envoy.service.discovery.v3.discovery_pb2 import Resource as DeltaResource
from google.protobuf.message import Message

from backendpool.api.pool import PoolView
from backendpool.lookaside.xds.names import CLUSTER, ENDPOINTS, LISTENER, ROUTES, PoolName
from backendpool.lookaside.xds.resources import cluster, listener, load_assignment, packed, route_configuration

_MAX_CACHED = 100  # entries. Clients use few names each, and none may make the server's memory grow.


@dataclass(frozen=True)
class Resource:
    """A named resource, encoded on first use."""

    name: str
    message: Message

    @cached_property
    def version(self) -> str:
        return _digest([self.message.SerializeToString(deterministic=True)])

    @cached_property
    def sotw_bytes(self) -> bytes:
        """A state-of-the-world response that holds only this resource."""
        return DiscoveryResponse(resources=[packed(self.message)]).SerializeToString(deterministic=True)

    @cached_property
    def delta_bytes(self) -> bytes:
        """A delta response that holds only this resource."""
        resource = DeltaResource(name=self.name, version=self.version, resource=packed(self.message))
        return DeltaDiscoveryResponse(resources=[resource]).SerializeToString(deterministic=True)


class Snapshot:
    """The pool's resources for clients in one ``zone``, each built at its first use."""

    def __init__(self, pool: PoolName, view: PoolView, zone: str) -> None:
        self._pool = pool
        self._view = view
        self._zone = zone
        self._resources: dict[tuple[str, str], Resource] = {}
        self._sotw_responses: dict[tuple[str, frozenset[str]], bytes] = {}

    def resource(self, type_url: str, name: str) -> Resource | None:
        """Return the resource, None if there is none of that type and name."""
        if not self._pool.matches(name):
            return None
        resource = self._resources.get((type_url, name))
        if resource is None:
            message = self._build(type_url, name)
            if message is None:
                return None
            resource = Resource(name, message)
            if len(self._resources) < _MAX_CACHED:
                self._resources[type_url, name] = resource
        return resource

    def wildcard_names(self, type_url: str) -> frozenset[str]:
        """Return the names that a wildcard subscription matches.

        It matches no listener: ours are API listeners, which gRPC clients request by name and Envoy would NACK.
        """
        return frozenset([str(self._pool)]) if type_url == CLUSTER else frozenset()

    def sotw_response(self, type_url: str, names: frozenset[str]) -> bytes:
        """Encode the response with all resources of these names, without a nonce. Its version covers all of them."""
        key = (type_url, names)
        response = self._sotw_responses.get(key)
        if response is None:
            resources = [found for found in (self.resource(type_url, name) for name in sorted(names)) if found]
            version = _digest(part for found in resources for part in (found.name.encode(), found.version.encode()))
            head = DiscoveryResponse(version_info=version, type_url=type_url).SerializeToString()
            response = b"".join([head, *(found.sotw_bytes for found in resources)])
            if len(self._sotw_responses) < _MAX_CACHED:
                self._sotw_responses[key] = response
        return response

    def _build(self, type_url: str, name: str) -> Message | None:
        balancing = self._view.balancing
        if type_url == LISTENER:
            return listener(name, str(self._pool))
        if type_url == ROUTES:
            return route_configuration(name, str(self._pool), balancing)
        if type_url == CLUSTER:
            return cluster(name, balancing)
        if type_url == ENDPOINTS:
            return load_assignment(name, self._view.endpoints, balancing.prefer, self._zone)
        return None


class SnapshotCache:
    """The snapshots of one version of the pool, by the client's zone."""

    def __init__(self, pool: PoolName, view: PoolView) -> None:
        self.view = view
        self._pool = pool
        self._snapshots: dict[str, Snapshot] = {}

    def snapshot(self, zone: str) -> Snapshot:
        """Return the snapshot for clients in ``zone``. All zones share one if the pool does not prefer zones."""
        known = self.view.balancing.prefer is not None and zone in self._zones
        key = zone if known else ""
        if key not in self._snapshots:
            self._snapshots[key] = Snapshot(self._pool, self.view, key)
        return self._snapshots[key]

    @cached_property
    def _zones(self) -> frozenset[str]:
        return frozenset(endpoint.zone for endpoint in self.view.endpoints.endpoints)


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.hexdigest()[:16]

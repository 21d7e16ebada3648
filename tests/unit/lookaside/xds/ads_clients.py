"""ADS clients of both protocol variants that drive a stream state without gRPC."""

from __future__ import annotations

from typing import NamedTuple

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3.base_pb2 import Locality, Node
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from google.rpc.status_pb2 import Status

from backendpool.lookaside.xds.names import CLUSTER, ENDPOINTS, LISTENER, ROUTES, TYPES, short_type
from backendpool.lookaside.xds.snapshot import SnapshotCache
from backendpool.lookaside.xds.stream_state import Ack, DeltaStream, SotwStream

__all__ = ["CLUSTER", "ENDPOINTS", "LISTENER", "ROUTES", "DeltaClient", "Response", "SotwClient"]

_MESSAGES = {
    CLUSTER: cluster_pb2.Cluster,
    ENDPOINTS: endpoint_pb2.ClusterLoadAssignment,
    LISTENER: listener_pb2.Listener,
    ROUTES: route_pb2.RouteConfiguration,
}


class Response(NamedTuple):
    """A response: short type, names of its resources, and names of resources that do not exist."""

    type: str
    names: tuple[str, ...]
    removed: tuple[str, ...] = ()


class SotwClient:
    """A client of StreamAggregatedResources that handles versions and nonces as the protocol requires."""

    def __init__(self, zone: str = "") -> None:
        self.last: dict[str, DiscoveryResponse] = {}
        self.held: dict[str, dict[str, bytes]] = {type_url: {} for type_url in TYPES}
        self._state = SotwStream()
        self._node: Node | None = Node(locality=Locality(zone=zone))

    def request(
        self, type_url: str, *names: str, error: str = "", nonce: str | None = None, version: str | None = None
    ) -> Ack | None:
        """Subscribe to exactly ``names``; ACK the last response, or NACK it with ``error``."""
        last = self.last.get(type_url, DiscoveryResponse())
        request = DiscoveryRequest(
            type_url=type_url,
            resource_names=names,
            node=self._node,
            response_nonce=last.nonce if nonce is None else nonce,
            version_info=last.version_info if version is None else version,
            error_detail=Status(message=error) if error else None,
        )
        self._node = None
        return self._state.handle_request(request.SerializeToString())

    def receive(self, cache: SnapshotCache) -> list[Response]:
        """Return the responses that the server would send now."""
        return [self._read(response) for response in self._state.responses(cache.snapshot(self._state.zone))]

    def _read(self, raw: bytes) -> Response:
        response = DiscoveryResponse.FromString(raw)
        self.last[response.type_url] = response
        found = {_name(response.type_url, one.value): one.value for one in response.resources}
        if response.type_url in (LISTENER, CLUSTER):
            self.held[response.type_url].clear()  # a complete response removes what it leaves out
        self.held[response.type_url] |= found
        return Response(short_type(response.type_url), tuple(found))


class DeltaClient:
    """A client of DeltaAggregatedResources."""

    def __init__(self) -> None:
        self.last: dict[str, DeltaDiscoveryResponse] = {}
        self.held: dict[str, dict[str, bytes]] = {type_url: {} for type_url in TYPES}
        self._state = DeltaStream()

    def request(
        self,
        type_url: str,
        *names: str,
        leave: tuple[str, ...] = (),
        has: dict[str, str] | None = None,
        error: str = "",
        ack: bool = False,
    ) -> Ack | None:
        """Subscribe to ``names`` and unsubscribe from ``leave``; ACK the last response, or NACK it with ``error``."""
        last = self.last.get(type_url, DeltaDiscoveryResponse())
        for name in leave:
            self.held[type_url].pop(name, None)
        request = DeltaDiscoveryRequest(
            type_url=type_url,
            resource_names_subscribe=names,
            resource_names_unsubscribe=leave,
            initial_resource_versions=has or {},
            response_nonce=last.nonce if ack or error else "",
            error_detail=Status(message=error) if error else None,
        )
        return self._state.handle_request(request.SerializeToString())

    def receive(self, cache: SnapshotCache) -> list[Response]:
        """Return the responses that the server would send now."""
        return [self._read(response) for response in self._state.responses(cache.snapshot(self._state.zone))]

    def _read(self, raw: bytes) -> Response:
        response = DeltaDiscoveryResponse.FromString(raw)
        self.last[response.type_url] = response
        found = {one.name: one.resource.value for one in response.resources}
        assert list(found) == [_name(response.type_url, raw) for raw in found.values()]
        self.held[response.type_url] |= found
        for name in response.removed_resources:
            self.held[response.type_url].pop(name, None)
        return Response(short_type(response.type_url), tuple(found), tuple(response.removed_resources))


def _name(type_url: str, raw: bytes) -> str:
    message = _MESSAGES[type_url].FromString(raw)
    name: str = message.cluster_name if type_url == ENDPOINTS else message.name
    return name

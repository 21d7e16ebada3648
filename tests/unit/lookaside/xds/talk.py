"""The client's side of a conversation, for tests of ours."""

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

from backendpool.lookaside.xds.conversation import Verdict
from backendpool.lookaside.xds.delta import DeltaConversation
from backendpool.lookaside.xds.names import CLUSTER, ENDPOINTS, LISTENER, ROUTES, TYPES, short
from backendpool.lookaside.xds.snapshot import Publication
from backendpool.lookaside.xds.sotw import SotwConversation

__all__ = ["CLUSTER", "ENDPOINTS", "LISTENER", "ROUTES", "Delta", "Sotw", "Told"]

_MESSAGES = {
    CLUSTER: cluster_pb2.Cluster,
    ENDPOINTS: endpoint_pb2.ClusterLoadAssignment,
    LISTENER: listener_pb2.Listener,
    ROUTES: route_pb2.RouteConfiguration,
}


class Told(NamedTuple):
    """What a response said: the short type, names of resources, and of resources that are not there."""

    type: str
    names: tuple[str, ...]
    absent: tuple[str, ...] = ()


class Sotw:
    """A client of StreamAggregatedResources, which keeps versions and nonces as the protocol wants."""

    def __init__(self, zone: str = "") -> None:
        self.last: dict[str, DiscoveryResponse] = {}
        self.held: dict[str, dict[str, bytes]] = {type_url: {} for type_url in TYPES}
        self._conversation = SotwConversation()
        self._node: Node | None = Node(locality=Locality(zone=zone))

    def ask(
        self, type_url: str, *names: str, problem: str = "", nonce: str | None = None, version: str | None = None
    ) -> Verdict | None:
        """Want these; where there was a response, take it, or refuse it with ``problem``."""
        last = self.last.get(type_url, DiscoveryResponse())
        request = DiscoveryRequest(
            type_url=type_url,
            resource_names=names,
            node=self._node,
            response_nonce=last.nonce if nonce is None else nonce,
            version_info=last.version_info if version is None else version,
            error_detail=Status(message=problem) if problem else None,
        )
        self._node = None
        return self._conversation.take(request.SerializeToString())

    def told(self, publication: Publication) -> list[Told]:
        """What we say now."""
        return [self._read(response) for response in self._conversation.responses(publication)]

    def _read(self, raw: bytes) -> Told:
        response = DiscoveryResponse.FromString(raw)
        self.last[response.type_url] = response
        found = {_name(response.type_url, one.value): one.value for one in response.resources}
        if response.type_url in (LISTENER, CLUSTER):
            self.held[response.type_url].clear()  # what a complete response leaves out is gone
        self.held[response.type_url] |= found
        return Told(short(response.type_url), tuple(found))


class Delta:
    """A client of DeltaAggregatedResources."""

    def __init__(self) -> None:
        self.last: dict[str, DeltaDiscoveryResponse] = {}
        self.held: dict[str, dict[str, bytes]] = {type_url: {} for type_url in TYPES}
        self._conversation = DeltaConversation()

    def ask(
        self,
        type_url: str,
        *names: str,
        leave: tuple[str, ...] = (),
        has: dict[str, str] | None = None,
        problem: str = "",
        ack: bool = False,
    ) -> Verdict | None:
        """Want these as well, and ``leave`` no more; ``ack`` or ``problem`` is about the last response."""
        last = self.last.get(type_url, DeltaDiscoveryResponse())
        for name in leave:
            self.held[type_url].pop(name, None)
        request = DeltaDiscoveryRequest(
            type_url=type_url,
            resource_names_subscribe=names,
            resource_names_unsubscribe=leave,
            initial_resource_versions=has or {},
            response_nonce=last.nonce if ack or problem else "",
            error_detail=Status(message=problem) if problem else None,
        )
        return self._conversation.take(request.SerializeToString())

    def told(self, publication: Publication) -> list[Told]:
        """What we say now."""
        return [self._read(response) for response in self._conversation.responses(publication)]

    def _read(self, raw: bytes) -> Told:
        response = DeltaDiscoveryResponse.FromString(raw)
        self.last[response.type_url] = response
        found = {one.name: one.resource.value for one in response.resources}
        assert list(found) == [_name(response.type_url, raw) for raw in found.values()]
        self.held[response.type_url] |= found
        for name in response.removed_resources:
            self.held[response.type_url].pop(name, None)
        return Told(short(response.type_url), tuple(found), tuple(response.removed_resources))


def _name(type_url: str, raw: bytes) -> str:
    message = _MESSAGES[type_url].FromString(raw)
    name: str = message.cluster_name if type_url == ENDPOINTS else message.name
    return name

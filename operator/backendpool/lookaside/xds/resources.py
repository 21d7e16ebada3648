"""A pool as xDS resources: Listener -> RouteConfiguration -> Cluster -> ClusterLoadAssignment. Pure.

Each refers to the next by the pool's full name, whatever name the client asked for. gRFC A27 says which fields gRPC
clients use; Envoy uses only the cluster and its endpoints.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import Address, SocketAddress
from envoy.config.core.v3.base_pb2 import Locality
from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy.config.core.v3.health_check_pb2 import HealthStatus
from envoy.config.core.v3.protocol_pb2 import Http2ProtocolOptions
from envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint as XdsEndpoint
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.api_listener_pb2 import ApiListener
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route, RouteAction, RouteMatch, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
    Rds,
)
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import UInt32Value

from backendpool.api.endpoints import Endpoint, EndpointSet, EndpointState
from backendpool.api.load_balancing import LoadBalancing, Preference
from backendpool.lookaside.xds.policies import load_balancing_policy, outlier_detection

_ADS: Final = ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)
_MANY: Final = UInt32Value(value=2**32 - 1)
_NO_LIMITS: Final = CircuitBreakers.Thresholds(
    max_connections=_MANY, max_pending_requests=_MANY, max_requests=_MANY, max_retries=_MANY
)
"""Effectively unlimited. By default, clients fail calls beyond 1,024 in flight (gRFC A32)."""
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def listener(name: str, routes: str) -> Listener:
    """Build the API listener, which a gRPC client requests first for the target ``xds:///name``."""
    manager = HttpConnectionManager(
        rds=Rds(config_source=_ADS, route_config_name=routes),
        http_filters=[HttpFilter(name="router", typed_config=packed(Router()))],
    )
    return Listener(name=name, api_listener=ApiListener(api_listener=packed(manager)))


def route_configuration(name: str, cluster: str, balancing: LoadBalancing) -> RouteConfiguration:
    """Route every call to ``cluster``, with the hash policy of ``spec.consistentHash``."""
    # No timeout: callers set deadlines. Envoy's default is 15 s.
    action = RouteAction(cluster=cluster, timeout=Duration())
    if balancing.hash_header:
        action.hash_policy.add().header.header_name = balancing.hash_header
    route = Route(match=RouteMatch(prefix="/"), route=action)
    return RouteConfiguration(name=name, virtual_hosts=[VirtualHost(name=cluster, domains=["*"], routes=[route])])


def cluster(name: str, balancing: LoadBalancing) -> Cluster:
    """Build the cluster; clients request its endpoints under the same name.

    Not under the pool's full name: if two clusters share a ClusterLoadAssignment, Envoy never warms the second.
    """
    found = Cluster(
        name=name,
        type=Cluster.EDS,
        eds_cluster_config=Cluster.EdsClusterConfig(eds_config=_ADS, service_name=name),
        load_balancing_policy=load_balancing_policy(balancing.policy),
        circuit_breakers=CircuitBreakers(thresholds=[_NO_LIMITS]),
    )
    # Envoy's default is HTTP/1.1; gRPC clients ignore this.
    http2 = HttpProtocolOptions.ExplicitHttpConfig(http2_protocol_options=Http2ProtocolOptions())
    found.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(
        packed(HttpProtocolOptions(explicit_http_config=http2))
    )
    if balancing.outliers:
        found.outlier_detection.CopyFrom(outlier_detection(balancing.outliers))
    return found


def load_assignment(name: str, endpoints: EndpointSet, prefer: Preference | None, zone: str) -> ClusterLoadAssignment:
    """Build the endpoints for a client in ``zone``.

    Draining endpoints get no new calls, and calls in flight finish. If no endpoint is Ready, Draining ones are sent as
    HEALTHY.
    """
    eligible = EndpointState.READY if endpoints.ready else EndpointState.DRAINING
    return ClusterLoadAssignment(
        cluster_name=name,
        endpoints=[
            _locality(where, found, eligible, priority)
            for priority, tier in enumerate(_tiers(endpoints.endpoints, eligible, prefer, zone))
            for where, found in tier
        ],
    )


def packed(message: Message) -> Any:
    """Pack ``message`` into an ``Any`` deterministically, since versions are hashes of the bytes."""
    found = Any()
    found.Pack(message, deterministic=True)
    return found


_Zoned = tuple[str, list[Endpoint]]


def _tiers(
    endpoints: Iterable[Endpoint], eligible: EndpointState, prefer: Preference | None, zone: str
) -> list[list[_Zoned]]:
    """Group endpoints by priority and zone, the client's own zone first.

    Without a preference, all endpoints form one locality: policies choose between localities at random, so the shares
    of endpoints in several localities would be even only on average.
    """
    if prefer is not Preference.ZONE:
        everywhere = list(endpoints)
        return [[("", everywhere)]] if everywhere else []
    zones: dict[str, list[Endpoint]] = defaultdict(list)
    for endpoint in endpoints:
        zones[endpoint.zone].append(endpoint)
    # A zone without an eligible endpoint gets no priority.
    here = [item for item in zones.items() if item[0] == zone and any(e.state is eligible for e in item[1])]
    there = sorted(item for item in zones.items() if item not in here)
    return [tier for tier in (here, there) if tier]


def _locality(zone: str, endpoints: list[Endpoint], eligible: EndpointState, priority: int) -> LocalityLbEndpoints:
    """Build a locality, weighted by its eligible endpoints; gRPC clients ignore one without a weight."""
    weight = sum(endpoint.state is eligible for endpoint in endpoints)
    found = LocalityLbEndpoints.FromString(
        b"".join(_endpoint(e.address, e.port, e.state is eligible) for e in endpoints)
    )
    found.locality.CopyFrom(Locality(zone=zone))
    found.priority = priority
    if weight:
        found.load_balancing_weight.value = weight
    return found


@lru_cache(maxsize=20_000)
def _endpoint(address: str, port: int, eligible: bool) -> bytes:
    """Encode a locality that contains only this endpoint.

    Concatenated encodings decode to one locality with all their endpoints, because protobuf merges repeated fields. The
    result is cached: a change usually affects one endpoint, and encoding the whole pool was most of the cost.
    """
    where = Address(socket_address=SocketAddress(address=address, port_value=port))
    health = HealthStatus.HEALTHY if eligible else HealthStatus.DRAINING
    endpoint = LbEndpoint(endpoint=XdsEndpoint(address=where), health_status=health)
    serialised: bytes = LocalityLbEndpoints(lb_endpoints=[endpoint]).SerializeToString()
    return serialised

"""A pool as xDS resources."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster, LoadBalancingPolicy
from envoy.config.core.v3.health_check_pb2 import HealthStatus
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.load_balancing_policies.wrr_locality.v3.wrr_locality_pb2 import WrrLocality

from backendpool.api.endpoints import EndpointState
from backendpool.api.load_balancing import (
    FailurePercentage,
    LoadBalancing,
    OutlierDetection,
    Policy,
    Preference,
    SuccessRate,
)
from backendpool.api.pool import PoolView
from backendpool.lookaside.xds.resources import cluster, listener, load_assignment, route_configuration
from tests.fakes.objects import endpoint, pool_view
from tests.unit.lookaside.snapshots import NAME, zoned

HEALTHY, DRAINING = HealthStatus.HEALTHY, HealthStatus.DRAINING


def assignment(of: PoolView, zone: str = "") -> ClusterLoadAssignment:
    return load_assignment(NAME, of.endpoints, of.balancing.prefer, zone)


def tiers(of: PoolView, zone: str = "") -> list[tuple[int, str, int, dict[str, int]]]:
    """Return priority, zone, weight and the health of each address, per locality."""
    return [
        (
            locality.priority,
            locality.locality.zone,
            locality.load_balancing_weight.value,
            {e.endpoint.address.socket_address.address: e.health_status for e in locality.lb_endpoints},
        )
        for locality in assignment(of, zone).endpoints
    ]


def policies(of: LoadBalancingPolicy) -> Iterator[str]:
    """Return the names of the policies in order; a nested policy is in brackets."""
    for policy in of.policies:
        config = policy.typed_extension_config.typed_config
        name = config.type_url.rpartition(".")[2]
        inner = WrrLocality()
        if config.Unpack(inner):
            name += f"[{', '.join(policies(inner.endpoint_picking_policy))}]"
        yield name


def test_listener_leads_to_the_routes() -> None:
    """The API listener has one filter, the router, as gRFC A27 and A39 require."""
    manager = HttpConnectionManager()
    assert listener("greetserver:1", NAME).name == "greetserver:1"
    assert listener("greetserver:1", NAME).api_listener.api_listener.Unpack(manager)
    assert manager.rds.route_config_name == NAME
    assert manager.rds.config_source.HasField("ads")
    assert [one.typed_config.type_url.rpartition(".")[2] for one in manager.http_filters] == ["Router"]


def test_every_call_goes_to_the_cluster() -> None:
    """The route matches every authority and method."""
    routes = route_configuration("greetserver", NAME, LoadBalancing())
    (host,) = routes.virtual_hosts
    assert (routes.name, list(host.domains)) == ("greetserver", ["*"])
    (route,) = host.routes
    assert (route.match.prefix, route.route.cluster) == ("/", NAME)
    assert not route.route.hash_policy


def test_calls_are_hashed_by_the_header() -> None:
    """ConsistentHash hashes the metadata key of the pool's spec."""
    routes = route_configuration(NAME, NAME, LoadBalancing(Policy.CONSISTENT_HASH, hash_header="x-user"))
    (hash_policy,) = routes.virtual_hosts[0].routes[0].route.hash_policy
    assert hash_policy.header.header_name == "x-user"


def test_cluster_has_its_endpoints_by_ads() -> None:
    """The cluster gets its endpoints by ADS under its own name, has no limits, and uses HTTP/2."""
    found = cluster("greetserver", LoadBalancing())
    assert (found.name, found.type) == ("greetserver", Cluster.EDS)
    assert found.eds_cluster_config.service_name == "greetserver"
    assert found.eds_cluster_config.eds_config.HasField("ads")
    assert "envoy.extensions.upstreams.http.v3.HttpProtocolOptions" in found.typed_extension_protocol_options
    assert found.circuit_breakers.thresholds[0].max_requests.value == 2**32 - 1
    assert not found.HasField("outlier_detection")


@pytest.mark.parametrize(
    ("policy", "names"),
    [
        (Policy.ROUND_ROBIN, ["RoundRobin"]),
        (Policy.RANDOM, ["Random", "RoundRobin"]),
        (Policy.LEAST_REQUEST, ["LeastRequest", "RoundRobin"]),
        (Policy.WEIGHTED_ROUND_ROBIN, ["WrrLocality[ClientSideWeightedRoundRobin, RoundRobin]", "RoundRobin"]),
        (Policy.CONSISTENT_HASH, ["RingHash", "RoundRobin"]),
    ],
)
def test_policy_is_first_of_those_to_try(policy: Policy, names: list[str]) -> None:
    """A client that does not support the policy falls back to round robin."""
    assert list(policies(cluster(NAME, LoadBalancing(policy)).load_balancing_policy)) == names


def test_outliers_are_found_as_the_author_says() -> None:
    """Every number of spec.outlierDetection is set in the units of xDS."""
    outliers = OutlierDetection(1, 2, 3, 4, SuccessRate(5, 6, 7, 8), FailurePercentage(9, 10, 11, 12))
    found = cluster(NAME, LoadBalancing(outliers=outliers)).outlier_detection
    assert (found.interval.seconds, found.base_ejection_time.seconds, found.max_ejection_time.seconds) == (1, 2, 3)
    assert found.max_ejection_percent.value == 4
    assert (found.success_rate_stdev_factor.value, found.enforcing_success_rate.value) == (5, 6)
    assert (found.success_rate_minimum_hosts.value, found.success_rate_request_volume.value) == (7, 8)
    assert (found.failure_percentage_threshold.value, found.enforcing_failure_percentage.value) == (9, 10)
    assert (found.failure_percentage_minimum_hosts.value, found.failure_percentage_request_volume.value) == (11, 12)


def test_what_the_author_does_not_ask_for_ejects_nobody() -> None:
    """Detection that the spec leaves out is disabled; Envoy's defaults would eject backends."""
    found = cluster(NAME, LoadBalancing(outliers=OutlierDetection(success_rate=SuccessRate()))).outlier_detection
    assert found.enforcing_success_rate.value == 100
    for field in ("consecutive_5xx", "consecutive_gateway_failure", "failure_percentage"):
        name = f"enforcing_{field}"
        assert found.HasField(name)
        assert getattr(found, name).value == 0


def test_endpoints_are_one_locality() -> None:
    """Without a zone preference, all zones form one locality, since clients choose between localities at random."""
    of = pool_view(endpoint("10.0.0.1", zone="a"), endpoint("10.0.0.2", zone="b"), endpoint("fd00::1", zone="b"))
    assert tiers(of) == [(0, "", 3, {"10.0.0.1": HEALTHY, "10.0.0.2": HEALTHY, "fd00::1": HEALTHY})]
    assert assignment(of).endpoints[0].HasField("locality")


def test_draining_endpoint_gets_no_new_calls() -> None:
    """A draining endpoint is sent as DRAINING and adds no weight."""
    assert tiers(pool_view("10.0.0.1", draining=["10.0.0.2"])) == [
        (0, "", 1, {"10.0.0.1": HEALTHY, "10.0.0.2": DRAINING})
    ]


def test_only_draining_endpoints_take_calls() -> None:
    """If all endpoints are draining, they are sent as HEALTHY."""
    assert tiers(pool_view(draining=["10.0.0.1", "10.0.0.2"])) == [
        (0, "", 2, {"10.0.0.1": HEALTHY, "10.0.0.2": HEALTHY})
    ]


def test_no_endpoint_is_no_locality() -> None:
    """An empty pool is sent as an assignment without localities."""
    assert assignment(pool_view()).cluster_name == NAME
    assert tiers(pool_view()) == []


ZONES = {"10.0.0.1": "a", "10.0.0.2": "b", "10.0.0.3": "b", "10.0.0.4": "c"}


def test_own_zone_comes_first() -> None:
    """The client's zone has the first priority; all other zones share the second, weighted by their endpoints."""
    assert tiers(zoned(ZONES, prefer=Preference.ZONE), "b") == [
        (0, "b", 2, {"10.0.0.2": HEALTHY, "10.0.0.3": HEALTHY}),
        (1, "a", 1, {"10.0.0.1": HEALTHY}),
        (1, "c", 1, {"10.0.0.4": HEALTHY}),
    ]


@pytest.mark.parametrize("zone", ["", "d"])
def test_client_of_no_zone_of_the_pool_has_all_alike(zone: str) -> None:
    """A client without a zone, or in a zone without endpoints, gets all endpoints with one priority."""
    assert [tier[0] for tier in tiers(zoned(ZONES, prefer=Preference.ZONE), zone)] == [0, 0, 0]


def test_zone_of_draining_endpoints_is_none_to_prefer() -> None:
    """A zone whose endpoints are all draining gets no priority, so priorities have no gap."""
    of = pool_view(
        endpoint("10.0.0.1", zone="a", state=EndpointState.DRAINING),
        endpoint("10.0.0.2", zone="b"),
        balancing=LoadBalancing(prefer=Preference.ZONE),
    )
    assert tiers(of, "a") == [(0, "a", 0, {"10.0.0.1": DRAINING}), (0, "b", 1, {"10.0.0.2": HEALTHY})]

"""The state-of-the-world protocol: what a stream receives, and when."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError

from backendpool.api.load_balancing import LoadBalancing, Policy, Preference
from backendpool.lookaside.xds.snapshot import SnapshotCache
from backendpool.lookaside.xds.stream_state import Ack, SotwStream
from tests.unit.lookaside.snapshots import NAME, POOL, snapshot_cache, zoned
from tests.unit.lookaside.xds.ads_clients import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Response, SotwClient

ONE = snapshot_cache("10.0.0.1")
TWO = snapshot_cache("10.0.0.1", "10.0.0.2")
OTHER_POLICY = snapshot_cache("10.0.0.1", balancing=LoadBalancing(Policy.LEAST_REQUEST))


def subscribed(now: SnapshotCache = ONE) -> SotwClient:
    """Return a client that has acknowledged all four resources."""
    client = SotwClient()
    for type_url in (LISTENER, ROUTES, CLUSTER, ENDPOINTS):
        client.request(type_url, NAME)
        client.receive(now)
        client.request(type_url, NAME)
    assert client.receive(now) == []
    return client


def test_client_subscribes_to_the_four_types_in_turn() -> None:
    """A client subscribes like gRPC: each resource names the next one."""
    client = SotwClient()
    for type_url, name in ((LISTENER, "Listener"), (ROUTES, "RouteConfiguration"), (CLUSTER, "Cluster")):
        client.request(type_url, NAME)
        assert client.receive(ONE) == [Response(name, (NAME,))]
    client.request(ENDPOINTS, NAME)
    assert client.receive(ONE) == [Response("ClusterLoadAssignment", (NAME,))]


def test_acknowledged_is_not_sent_again() -> None:
    """After an ACK nothing is sent until something changes."""
    client = subscribed()
    assert client.receive(snapshot_cache("10.0.0.1")) == []
    assert client.receive(TWO) == [Response("ClusterLoadAssignment", (NAME,))]


def test_nothing_is_sent_without_a_subscription() -> None:
    """Changes of resources that nobody subscribed to are not sent."""
    client = SotwClient()
    client.request(CLUSTER, NAME)
    assert client.receive(TWO) == [Response("Cluster", (NAME,))]


def test_new_cluster_is_followed_by_its_endpoints() -> None:
    """After a changed cluster, its endpoints are sent again, because clients warm the cluster with them."""
    assert [response.type for response in subscribed().receive(OTHER_POLICY)] == ["Cluster", "ClusterLoadAssignment"]


def test_nacked_response_is_not_sent_again_until_it_changes() -> None:
    """After a NACK, the same response is not sent again, since the client would reject it again."""
    client = subscribed()
    client.receive(TWO)
    assert client.request(ENDPOINTS, NAME, error="no such locality") == Ack(ENDPOINTS, "no such locality")
    assert client.receive(TWO) == []
    assert client.receive(ONE) == [Response("ClusterLoadAssignment", (NAME,))]


def test_first_request_is_no_ack() -> None:
    """A request that answers no response is neither an ACK nor a NACK."""
    client = SotwClient()
    assert client.request(LISTENER, NAME) is None
    client.receive(ONE)
    assert client.request(LISTENER, NAME) == Ack(LISTENER, "")


def test_resubscribed_is_sent_again() -> None:
    """An idle client drops its resources; they are sent again when it resubscribes."""
    client = subscribed()
    client.request(ENDPOINTS)
    assert client.receive(TWO) == []
    client.request(ENDPOINTS, NAME)
    assert client.receive(TWO) == [Response("ClusterLoadAssignment", (NAME,))]


def test_response_holds_all_that_is_subscribed() -> None:
    """After a new name, the response holds all names, since omitted ones would count as removed."""
    client = SotwClient()
    client.request(CLUSTER, "greetserver")
    client.receive(ONE)
    client.request(CLUSTER, "greetserver", NAME)
    assert client.receive(ONE) == [Response("Cluster", ("greetserver", NAME))]


def test_unsubscribing_sends_nothing() -> None:
    """Removing a name triggers no response."""
    client = SotwClient()
    client.request(CLUSTER, "greetserver", NAME)
    client.receive(ONE)
    client.request(CLUSTER, NAME)
    assert client.receive(ONE) == []


def test_stale_request_is_ignored() -> None:
    """A request with an old nonce changes no subscription and counts as no NACK."""
    client = subscribed()
    first = client.last[ENDPOINTS].nonce
    client.receive(TWO)
    assert client.request(ENDPOINTS, nonce=first, error="late") is None
    assert client.receive(ONE) == [Response("ClusterLoadAssignment", (NAME,))]


@pytest.mark.parametrize("type_url", [LISTENER, CLUSTER])
def test_unknown_name_is_answered_by_a_response_without_it(type_url: str) -> None:
    """For listeners and clusters, one response without the name says that it does not exist."""
    client = SotwClient()
    client.request(type_url, "nobody", NAME)
    assert [response.names for response in client.receive(ONE)] == [(NAME,)]
    client.request(type_url, "nobody")
    assert client.receive(ONE) == []
    client.request(type_url, "nobody", "nobody.else")
    assert [response.names for response in client.receive(ONE)] == [()]


@pytest.mark.parametrize("type_url", [ROUTES, ENDPOINTS])
def test_unknown_name_of_a_partial_type_is_not_answered(type_url: str) -> None:
    """For routes and endpoints, a response cannot say that a resource does not exist, so none is sent."""
    client = SotwClient()
    client.request(type_url, "nobody")
    assert client.receive(ONE) == []
    client.request(type_url, "nobody", NAME)
    assert [response.names for response in client.receive(ONE)] == [(NAME,)]


def test_first_request_without_names_is_a_wildcard() -> None:
    """Like Envoy, a first request without names gets all clusters and no listener."""
    client = SotwClient()
    client.request(CLUSTER)
    client.request(LISTENER)
    assert client.receive(ONE) == [Response("Cluster", (NAME,)), Response("Listener", ())]
    client.request(CLUSTER)
    assert client.receive(ONE) == []
    assert client.receive(OTHER_POLICY) == [Response("Cluster", (NAME,))]


def test_names_after_a_wildcard_end_it() -> None:
    """Once a client has named a resource, a request without names subscribes to nothing."""
    client = SotwClient()
    client.request(CLUSTER)
    client.receive(ONE)
    client.request(CLUSTER, "greetserver")
    assert client.receive(ONE) == [Response("Cluster", ("greetserver",))]
    client.request(CLUSTER)
    assert client.receive(OTHER_POLICY) == []


def test_first_response_is_complete_whatever_version_the_client_has() -> None:
    """Versions of an earlier stream are ignored, because some clients send them after dropping the resources."""
    client = subscribed()
    again = SotwClient()
    for type_url in (CLUSTER, ENDPOINTS):
        again.request(type_url, NAME, version=client.last[type_url].version_info)
    assert [response.type for response in again.receive(ONE)] == ["Cluster", "ClusterLoadAssignment"]


def test_replicas_agree_on_versions() -> None:
    """Equal content has an equal version, so a client that changes replicas sees no change."""
    client, elsewhere = subscribed(), subscribed(snapshot_cache("10.0.0.1"))
    for type_url in (LISTENER, ROUTES, CLUSTER, ENDPOINTS):
        assert client.last[type_url].version_info == elsewhere.last[type_url].version_info
    client.receive(TWO)
    assert client.last[ENDPOINTS].version_info != elsewhere.last[ENDPOINTS].version_info


def test_clients_of_a_zone_have_their_own_endpoints() -> None:
    """With locality.prefer, the client's zone comes first."""
    pools = SnapshotCache(POOL, zoned({"10.0.0.1": "a", "10.0.0.2": "b"}, prefer=Preference.ZONE))
    a, b, elsewhere = SotwClient("a"), SotwClient("b"), SotwClient()
    versions = []
    for client in (a, b, elsewhere):
        client.request(ENDPOINTS, NAME)
        client.receive(pools)
        versions.append(client.last[ENDPOINTS].version_info)
    assert len(set(versions)) == 3


def test_other_types_are_ignored() -> None:
    """Subscriptions to types that are not served, such as secrets, get no response."""
    client = SotwClient()
    client.request("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", NAME)
    client.request(CLUSTER, NAME)
    assert client.receive(ONE) == [Response("Cluster", (NAME,))]


def test_garbage_is_a_decode_error() -> None:
    """Bytes that are no request raise DecodeError."""
    with pytest.raises(DecodeError):
        SotwStream().handle_request(b"\xff\xff")

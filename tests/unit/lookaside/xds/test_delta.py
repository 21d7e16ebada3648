"""The delta protocol: what a stream receives, and when."""

from __future__ import annotations

from backendpool.api.load_balancing import LoadBalancing, Policy
from backendpool.lookaside.xds.stream_state import Ack
from tests.unit.lookaside.snapshots import NAME, snapshot_cache
from tests.unit.lookaside.xds.ads_clients import CLUSTER, ENDPOINTS, LISTENER, DeltaClient, Response

ONE = snapshot_cache("10.0.0.1")
TWO = snapshot_cache("10.0.0.1", "10.0.0.2")
OTHER_POLICY = snapshot_cache("10.0.0.1", balancing=LoadBalancing(Policy.LEAST_REQUEST))


def test_only_what_is_lacking_is_sent() -> None:
    """A new name adds one resource; resources that the client has are not sent again."""
    client = DeltaClient()
    client.request(CLUSTER, "greetserver")
    assert client.receive(ONE) == [Response("Cluster", ("greetserver",))]
    client.request(CLUSTER, NAME)
    assert client.receive(ONE) == [Response("Cluster", (NAME,))]
    assert client.receive(ONE) == []


def test_change_is_sent() -> None:
    """A changed resource is sent, and the ACK changes no subscription."""
    client = DeltaClient()
    client.request(ENDPOINTS, NAME)
    client.receive(ONE)
    assert client.request(ENDPOINTS, ack=True) == Ack(ENDPOINTS, "")
    assert client.receive(ONE) == []
    assert client.receive(TWO) == [Response("ClusterLoadAssignment", (NAME,))]


def test_nack_has_an_error() -> None:
    """A NACK carries its reason, and the resource is not sent again until it changes."""
    client = DeltaClient()
    client.request(ENDPOINTS, NAME)
    client.receive(ONE)
    assert client.request(ENDPOINTS, error="no") == Ack(ENDPOINTS, "no")
    assert client.receive(ONE) == []


def test_unknown_name_is_removed_once() -> None:
    """A delta response of any type reports a resource that does not exist, once."""
    client = DeltaClient()
    client.request(ENDPOINTS, "nobody")
    assert client.receive(ONE) == [Response("ClusterLoadAssignment", (), ("nobody",))]
    assert client.receive(TWO) == []


def test_resubscribed_is_sent_again() -> None:
    """A client that subscribes again gets the resource again, even without an unsubscribe in between."""
    client = DeltaClient()
    client.request(ENDPOINTS, NAME)
    client.receive(ONE)
    client.request(ENDPOINTS, NAME)
    assert client.receive(ONE) == [Response("ClusterLoadAssignment", (NAME,))]
    client.request(ENDPOINTS, leave=(NAME,))
    assert client.receive(TWO) == []
    client.request(ENDPOINTS, NAME)
    assert client.receive(TWO) == [Response("ClusterLoadAssignment", (NAME,))]


def test_wildcard_has_all_clusters() -> None:
    """A wildcard (no name, or *) gets all clusters, and an empty response for listeners."""
    bare, star = DeltaClient(), DeltaClient()
    bare.request(CLUSTER)
    star.request(CLUSTER, "*")
    for client in (bare, star):
        assert client.receive(ONE) == [Response("Cluster", (NAME,))]
        assert client.receive(OTHER_POLICY) == [Response("Cluster", (NAME,))]
    star.request(LISTENER)
    assert star.receive(OTHER_POLICY) == [Response("Listener", ())]
    star.request(CLUSTER, leave=("*",))
    assert star.receive(ONE) == []


def test_name_unsubscribed_under_a_wildcard_is_sent_again() -> None:
    """A name unsubscribed under a wildcard is sent again, because the wildcard still covers it."""
    client = DeltaClient()
    client.request(CLUSTER, "*", NAME)
    client.receive(ONE)
    client.request(CLUSTER, leave=(NAME,))
    assert client.receive(ONE) == [Response("Cluster", (NAME,))]


def test_reconnecting_client_is_sent_what_it_lacks() -> None:
    """Initial versions count: equal resources are not sent, changed ones are, missing ones are removed."""
    before = DeltaClient()
    before.request(CLUSTER, NAME)
    before.request(ENDPOINTS, NAME)
    before.receive(ONE)
    has = {NAME: before.last[CLUSTER].resources[0].version}
    client = DeltaClient()
    client.request(CLUSTER, NAME, "gone", has=has | {"gone": "1"})
    client.request(ENDPOINTS, NAME, has={NAME: before.last[ENDPOINTS].resources[0].version})
    assert client.receive(TWO) == [Response("Cluster", (), ("gone",)), Response("ClusterLoadAssignment", (NAME,))]


def test_new_cluster_is_followed_by_its_endpoints() -> None:
    """After a changed cluster, its endpoints are sent again, because clients warm the cluster with them."""
    client = DeltaClient()
    client.request(CLUSTER, NAME)
    client.request(ENDPOINTS, NAME)
    client.receive(ONE)
    assert [response.type for response in client.receive(OTHER_POLICY)] == ["Cluster", "ClusterLoadAssignment"]

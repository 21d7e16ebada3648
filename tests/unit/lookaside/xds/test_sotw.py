"""State of the world: what a stream is told, and when."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError

from backendpool.api.load_balancing import LoadBalancing, Policy, Preference
from backendpool.lookaside.xds.conversation import Verdict
from backendpool.lookaside.xds.snapshot import Publication
from backendpool.lookaside.xds.sotw import SotwConversation
from tests.unit.lookaside.views import NAME, POOL, publication, zoned
from tests.unit.lookaside.xds.talk import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Sotw, Told

ONE = publication("10.0.0.1")
TWO = publication("10.0.0.1", "10.0.0.2")
OTHER_POLICY = publication("10.0.0.1", balancing=LoadBalancing(Policy.LEAST_REQUEST))


def follower(now: Publication = ONE) -> Sotw:
    """A client that has all four resources, and said so."""
    client = Sotw()
    for type_url in (LISTENER, ROUTES, CLUSTER, ENDPOINTS):
        client.ask(type_url, NAME)
        client.told(now)
        client.ask(type_url, NAME)
    assert client.told(now) == []
    return client


def test_client_asks_its_way_through_the_four_types() -> None:
    """A gRPC client's first steps: each resource names the one that it asks for next."""
    client = Sotw()
    for type_url, name in ((LISTENER, "Listener"), (ROUTES, "RouteConfiguration"), (CLUSTER, "Cluster")):
        client.ask(type_url, NAME)
        assert client.told(ONE) == [Told(name, (NAME,))]
    client.ask(ENDPOINTS, NAME)
    assert client.told(ONE) == [Told("ClusterLoadAssignment", (NAME,))]


def test_acknowledged_is_not_sent_again() -> None:
    """A client that took a response is told nothing until there is something new."""
    client = follower()
    assert client.told(publication("10.0.0.1")) == []
    assert client.told(TWO) == [Told("ClusterLoadAssignment", (NAME,))]


def test_nothing_is_told_before_it_is_asked_for() -> None:
    """No unsolicited resource, whatever changes."""
    client = Sotw()
    client.ask(CLUSTER, NAME)
    assert client.told(TWO) == [Told("Cluster", (NAME,))]


def test_new_cluster_is_followed_by_its_endpoints() -> None:
    """A client warms a changed cluster as if it had no endpoints, so they are sent once more, and after it."""
    assert [told.type for told in follower().told(OTHER_POLICY)] == ["Cluster", "ClusterLoadAssignment"]


def test_refused_response_is_not_sent_again_until_it_changes() -> None:
    """A NACK leaves the client with what it has, and is no reason to try the same again."""
    client = follower()
    client.told(TWO)
    assert client.ask(ENDPOINTS, NAME, problem="no such locality") == Verdict(ENDPOINTS, "no such locality")
    assert client.told(TWO) == []
    assert client.told(ONE) == [Told("ClusterLoadAssignment", (NAME,))]


def test_acknowledgement_is_told_apart_from_a_first_request() -> None:
    """Only what answers a response is a verdict."""
    client = Sotw()
    assert client.ask(LISTENER, NAME) is None
    client.told(ONE)
    assert client.ask(LISTENER, NAME) == Verdict(LISTENER, "")


def test_resubscribed_is_sent_again() -> None:
    """A client that went idle has let go of what it had: unsubscribed and subscribed again, it is sent it."""
    client = follower()
    client.ask(ENDPOINTS)
    assert client.told(TWO) == []
    client.ask(ENDPOINTS, NAME)
    assert client.told(TWO) == [Told("ClusterLoadAssignment", (NAME,))]


def test_response_holds_all_that_is_wanted() -> None:
    """One more name: the response has both, for what it leaves out would count as gone."""
    client = Sotw()
    client.ask(CLUSTER, "greetserver")
    client.told(ONE)
    client.ask(CLUSTER, "greetserver", NAME)
    assert client.told(ONE) == [Told("Cluster", ("greetserver", NAME))]


def test_one_name_less_is_no_news() -> None:
    """Who wants less is told nothing."""
    client = Sotw()
    client.ask(CLUSTER, "greetserver", NAME)
    client.told(ONE)
    client.ask(CLUSTER, NAME)
    assert client.told(ONE) == []


def test_stale_request_is_passed_over() -> None:
    """A request that answers an earlier response says nothing of what the client will want when it has the last."""
    client = follower()
    first = client.last[ENDPOINTS].nonce
    client.told(TWO)
    assert client.ask(ENDPOINTS, nonce=first, problem="late") is None
    assert client.told(ONE) == [Told("ClusterLoadAssignment", (NAME,))]


@pytest.mark.parametrize("type_url", [LISTENER, CLUSTER])
def test_unknown_name_is_answered_by_a_response_without_it(type_url: str) -> None:
    """Listeners and clusters: what a complete response leaves out does not exist; said once."""
    client = Sotw()
    client.ask(type_url, "nobody", NAME)
    assert [told.names for told in client.told(ONE)] == [(NAME,)]
    client.ask(type_url, "nobody")
    assert client.told(ONE) == []
    client.ask(type_url, "nobody", "nobody.else")
    assert [told.names for told in client.told(ONE)] == [()]


@pytest.mark.parametrize("type_url", [ROUTES, ENDPOINTS])
def test_unknown_name_of_a_partial_type_is_waited_for(type_url: str) -> None:
    """Routes and endpoints: a response cannot say that something is not there, so there is none."""
    client = Sotw()
    client.ask(type_url, "nobody")
    assert client.told(ONE) == []
    client.ask(type_url, "nobody", NAME)
    assert [told.names for told in client.told(ONE)] == [(NAME,)]


def test_first_request_without_names_wants_all_clusters() -> None:
    """As Envoy asks: all clusters, and no listener, for ours are not for it."""
    client = Sotw()
    client.ask(CLUSTER)
    client.ask(LISTENER)
    assert client.told(ONE) == [Told("Cluster", (NAME,)), Told("Listener", ())]
    client.ask(CLUSTER)
    assert client.told(ONE) == []
    assert client.told(OTHER_POLICY) == [Told("Cluster", (NAME,))]


def test_names_after_a_wildcard_end_it() -> None:
    """Once a client names something, an empty request wants nothing."""
    client = Sotw()
    client.ask(CLUSTER)
    client.told(ONE)
    client.ask(CLUSTER, "greetserver")
    assert client.told(ONE) == [Told("Cluster", ("greetserver",))]
    client.ask(CLUSTER)
    assert client.told(OTHER_POLICY) == []


def test_first_answer_is_whole_whatever_the_client_brings() -> None:
    """A version from another stream is no promise: there are clients that keep it and not what it stands for."""
    client = follower()
    again = Sotw()
    for type_url in (CLUSTER, ENDPOINTS):
        again.ask(type_url, NAME, version=client.last[type_url].version_info)
    assert [told.type for told in again.told(ONE)] == ["Cluster", "ClusterLoadAssignment"]


def test_replicas_agree_on_versions() -> None:
    """Equal content has an equal version, so that a client from another replica finds nothing changed."""
    client, elsewhere = follower(), follower(publication("10.0.0.1"))
    for type_url in (LISTENER, ROUTES, CLUSTER, ENDPOINTS):
        assert client.last[type_url].version_info == elsewhere.last[type_url].version_info
    client.told(TWO)
    assert client.last[ENDPOINTS].version_info != elsewhere.last[ENDPOINTS].version_info


def test_clients_of_a_zone_have_their_own_endpoints() -> None:
    """Where the pool prefers zones, a client that says where it is gets its zone first."""
    pools = Publication(POOL, zoned({"10.0.0.1": "a", "10.0.0.2": "b"}, prefer=Preference.ZONE))
    a, b, elsewhere = Sotw("a"), Sotw("b"), Sotw()
    versions = []
    for client in (a, b, elsewhere):
        client.ask(ENDPOINTS, NAME)
        client.told(pools)
        versions.append(client.last[ENDPOINTS].version_info)
    assert len(set(versions)) == 3


def test_types_of_others_are_passed_over() -> None:
    """A client that wants secrets, or runtime layers, is told nothing of them."""
    client = Sotw()
    client.ask("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", NAME)
    client.ask(CLUSTER, NAME)
    assert client.told(ONE) == [Told("Cluster", (NAME,))]


def test_garbage_is_no_request() -> None:
    """Bytes that are no message are refused as such."""
    with pytest.raises(DecodeError):
        SotwConversation().take(b"\xff\xff")

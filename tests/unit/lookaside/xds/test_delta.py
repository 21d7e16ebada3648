"""Delta: what a stream is told, and when."""

from __future__ import annotations

from backendpool.api.load_balancing import LoadBalancing, Policy
from backendpool.lookaside.xds.conversation import Verdict
from tests.unit.lookaside.views import NAME, publication
from tests.unit.lookaside.xds.talk import CLUSTER, ENDPOINTS, LISTENER, Delta, Told

ONE = publication("10.0.0.1")
TWO = publication("10.0.0.1", "10.0.0.2")
OTHER_POLICY = publication("10.0.0.1", balancing=LoadBalancing(Policy.LEAST_REQUEST))


def test_only_what_is_lacking_is_sent() -> None:
    """One more name, one more resource: the one that the client has is not sent again."""
    client = Delta()
    client.ask(CLUSTER, "greetserver")
    assert client.told(ONE) == [Told("Cluster", ("greetserver",))]
    client.ask(CLUSTER, NAME)
    assert client.told(ONE) == [Told("Cluster", (NAME,))]
    assert client.told(ONE) == []


def test_change_is_sent() -> None:
    """An acknowledgement wants nothing; a change is told."""
    client = Delta()
    client.ask(ENDPOINTS, NAME)
    client.told(ONE)
    assert client.ask(ENDPOINTS, ack=True) == Verdict(ENDPOINTS, "")
    assert client.told(ONE) == []
    assert client.told(TWO) == [Told("ClusterLoadAssignment", (NAME,))]


def test_refusal_is_a_verdict() -> None:
    """A NACK says why, and is not answered until there is something else to say."""
    client = Delta()
    client.ask(ENDPOINTS, NAME)
    client.told(ONE)
    assert client.ask(ENDPOINTS, problem="no") == Verdict(ENDPOINTS, "no")
    assert client.told(ONE) == []


def test_unknown_name_is_told_to_be_absent_once() -> None:
    """Of any type, for here a response can say it."""
    client = Delta()
    client.ask(ENDPOINTS, "nobody")
    assert client.told(ONE) == [Told("ClusterLoadAssignment", (), ("nobody",))]
    assert client.told(TWO) == []


def test_resubscribed_is_sent_again() -> None:
    """Also without having been unsubscribed: who asks again has lost it."""
    client = Delta()
    client.ask(ENDPOINTS, NAME)
    client.told(ONE)
    client.ask(ENDPOINTS, NAME)
    assert client.told(ONE) == [Told("ClusterLoadAssignment", (NAME,))]
    client.ask(ENDPOINTS, leave=(NAME,))
    assert client.told(TWO) == []
    client.ask(ENDPOINTS, NAME)
    assert client.told(TWO) == [Told("ClusterLoadAssignment", (NAME,))]


def test_wildcard_has_all_clusters() -> None:
    """Without a name, or by the star; a listener there is none, and that is said."""
    bare, star = Delta(), Delta()
    bare.ask(CLUSTER)
    star.ask(CLUSTER, "*")
    for client in (bare, star):
        assert client.told(ONE) == [Told("Cluster", (NAME,))]
        assert client.told(OTHER_POLICY) == [Told("Cluster", (NAME,))]
    star.ask(LISTENER)
    assert star.told(OTHER_POLICY) == [Told("Listener", ())]
    star.ask(CLUSTER, leave=("*",))
    assert star.told(ONE) == []


def test_name_unsubscribed_under_a_wildcard_is_sent_again() -> None:
    """The client has let go of it, and still wants all there is."""
    client = Delta()
    client.ask(CLUSTER, "*", NAME)
    client.told(ONE)
    client.ask(CLUSTER, leave=(NAME,))
    assert client.told(ONE) == [Told("Cluster", (NAME,))]


def test_reconnecting_client_is_sent_what_it_lacks() -> None:
    """What it says that it has is compared: the same is not sent, another is, and what is gone is said to be."""
    before = Delta()
    before.ask(CLUSTER, NAME)
    before.ask(ENDPOINTS, NAME)
    before.told(ONE)
    has = {NAME: before.last[CLUSTER].resources[0].version}
    client = Delta()
    client.ask(CLUSTER, NAME, "gone", has=has | {"gone": "1"})
    client.ask(ENDPOINTS, NAME, has={NAME: before.last[ENDPOINTS].resources[0].version})
    assert client.told(TWO) == [Told("Cluster", (), ("gone",)), Told("ClusterLoadAssignment", (NAME,))]


def test_new_cluster_is_followed_by_its_endpoints() -> None:
    """As in the other variant: a changed cluster waits for endpoints."""
    client = Delta()
    client.ask(CLUSTER, NAME)
    client.ask(ENDPOINTS, NAME)
    client.told(ONE)
    assert [told.type for told in client.told(OTHER_POLICY)] == ["Cluster", "ClusterLoadAssignment"]

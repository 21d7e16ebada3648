"""Resolve: which address it returns."""

from collections import Counter

import pytest
from grpc import StatusCode

from backendpool.api.endpoints import EndpointSet
from backendpool.lookaside.resolver import RejectedRequest, Resolver
from backendpool.proto.lookaside.lookaside_pb2 import Request
from tests.fakes.objects import endpoint, endpoint_set

ROUND_ROBIN = Request(router=Request.ROUNDROBIN, service="greetserver", namespace="default")
RANDOM = Request(router=Request.RANDOM, service="greetserver", namespace="default")


class Source:
    """Endpoints that a test can replace."""

    def __init__(self, endpoints: EndpointSet | None) -> None:
        self.current = endpoints

    def __call__(self) -> EndpointSet | None:
        return self.current


def resolver(endpoints: EndpointSet | None) -> Resolver:
    return Resolver("default", "greetserver", Source(endpoints))


def test_round_robin_is_exact() -> None:
    """Each round returns every address once, in the same order."""
    addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    subject = resolver(endpoint_set(*addresses))
    picks = [subject.resolve(ROUND_ROBIN) for _ in range(9)]
    assert sorted(map(str, picks[:3])) == addresses
    assert picks == picks[:3] * 3


def test_round_robin_begins_anywhere() -> None:
    """Servers that start together begin with different addresses."""
    endpoints = endpoint_set("10.0.0.1", "10.0.0.2", "10.0.0.3")
    firsts = {resolver(endpoints).resolve(ROUND_ROBIN) for _ in range(100)}
    assert firsts == {"10.0.0.1", "10.0.0.2", "10.0.0.3"}


def test_random_calls_take_no_turn() -> None:
    """RANDOM requests do not advance the round robin of other clients."""
    subject = resolver(endpoint_set("10.0.0.1", "10.0.0.2"))
    picks = []
    for _ in range(20):
        picks.append(subject.resolve(ROUND_ROBIN))
        subject.resolve(RANDOM)
    assert Counter(picks) == {"10.0.0.1": 10, "10.0.0.2": 10}


def test_random_gives_each_address_its_share() -> None:
    """RANDOM returns all addresses equally often."""
    subject = resolver(endpoint_set("10.0.0.1", "10.0.0.2", "10.0.0.3"))
    picks = Counter(subject.resolve(RANDOM) for _ in range(3000))
    assert picks.keys() == {"10.0.0.1", "10.0.0.2", "10.0.0.3"}
    assert min(picks.values()) > 800  # six standard deviations below the mean


def test_changed_set_is_used_by_the_next_call() -> None:
    """After a change, removed addresses are no longer returned and new ones are."""
    source = Source(endpoint_set("10.0.0.1", "10.0.0.2"))
    subject = Resolver("default", "greetserver", source)
    subject.resolve(ROUND_ROBIN)
    source.current = endpoint_set("10.0.0.2", "10.0.0.3")
    assert {subject.resolve(ROUND_ROBIN) for _ in range(2)} == {"10.0.0.2", "10.0.0.3"}


def test_draining_is_passed_over_while_one_is_ready() -> None:
    """A draining pod gets no new calls while another pod is ready."""
    subject = resolver(endpoint_set("10.0.0.1", draining=["10.0.0.2"]))
    assert {subject.resolve(ROUND_ROBIN) for _ in range(4)} == {"10.0.0.1"}


def test_draining_is_given_where_none_is_ready() -> None:
    """If no pod is ready, draining pods get the calls."""
    subject = resolver(endpoint_set(draining=["10.0.0.1", "10.0.0.2"]))
    assert {subject.resolve(ROUND_ROBIN) for _ in range(2)} == {"10.0.0.1", "10.0.0.2"}


def test_address_with_two_ports_has_one_share() -> None:
    """The response has no port, so an address with two ports counts once."""
    subject = resolver(endpoint_set("10.0.0.1", endpoint("10.0.0.1", port=50052), "10.0.0.2"))
    assert Counter(subject.resolve(ROUND_ROBIN) for _ in range(10)) == {"10.0.0.1": 5, "10.0.0.2": 5}


def test_ipv6_host_has_no_brackets() -> None:
    """An IPv6 host is returned without brackets, which belong to host:port."""
    assert resolver(endpoint_set("fd00::1")).resolve(ROUND_ROBIN) == "fd00::1"


@pytest.mark.parametrize(
    ("endpoints", "change", "rejected"),
    [
        (
            endpoint_set("10.0.0.1"),
            {"router": 7},
            RejectedRequest(StatusCode.INVALID_ARGUMENT, "invalid router 7: expected RANDOM (0) or ROUNDROBIN (1)"),
        ),
        (
            endpoint_set("10.0.0.1"),
            {"service": ""},
            RejectedRequest(
                StatusCode.INVALID_ARGUMENT,
                "service is empty: expected the name of the Service, here greetserver",
            ),
        ),
        (
            endpoint_set("10.0.0.1"),
            {"namespace": ""},
            RejectedRequest(
                StatusCode.INVALID_ARGUMENT,
                "namespace is empty: expected the namespace of the Service, here default",
            ),
        ),
        (
            endpoint_set("10.0.0.1"),
            {"service": "other"},
            RejectedRequest(
                StatusCode.NOT_FOUND,
                "this server serves only greetserver in namespace default: connect to the lookaside of the other pool",
            ),
        ),
        (
            endpoint_set("10.0.0.1"),
            {"namespace": "other"},
            RejectedRequest(
                StatusCode.NOT_FOUND,
                "this server serves only greetserver in namespace default: connect to the lookaside of the other pool",
            ),
        ),
        (
            endpoint_set(),
            {},
            RejectedRequest(
                StatusCode.UNAVAILABLE,
                "greetserver has no ready endpoint: see `kubectl describe gbp greetserver --namespace default`",
            ),
        ),
        (
            None,
            {},
            RejectedRequest(
                StatusCode.UNAVAILABLE,
                "the endpoints of greetserver are not known yet: retry; if this persists, "
                "see the log of greetserver-lookaside",
            ),
        ),
    ],
)
def test_rejection_says_what_to_do(
    endpoints: EndpointSet | None, change: dict[str, int | str], rejected: RejectedRequest
) -> None:
    """Each rejected request gets its status, and details that say what to do."""
    request = Request()
    request.CopyFrom(ROUND_ROBIN)
    for field, value in change.items():
        setattr(request, field, value)
    assert resolver(endpoints).resolve(request) == rejected

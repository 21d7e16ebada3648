"""Parsing and merging EndpointSlices: named cases."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backendpool.api.endpoint_slices import Slice, parse_slice, select_current, union
from backendpool.api.endpoints import Endpoint, EndpointState
from tests.fakes.objects import CONDITIONS, Document, endpoint_slice, slice_endpoint

READY, DRAINING = EndpointState.READY, EndpointState.DRAINING
UNSET: dict[str, bool | None] = {}


def endpoints_of(*slices: Document) -> tuple[Endpoint, ...]:
    return union(map(parse_slice, slices)).endpoints


# --- one slice


def test_endpoint_says_where_it_runs() -> None:
    """Address, port, pod, node and zone are parsed."""
    item = slice_endpoint("10.0.0.1", pod_name="p1", pod_uid="u1", nodeName="n1", zone="a")
    assert endpoints_of(endpoint_slice(item)) == (
        Endpoint("10.0.0.1", 50051, pod_uid="u1", pod_name="p1", node_name="n1", zone="a", state=READY),
    )


def test_slice_knows_its_service() -> None:
    """The label names the Service; a slice without it belongs to none."""
    parsed = parse_slice(endpoint_slice(name="s1"))
    assert (parsed.namespace, parsed.name, parsed.service, parsed.family) == (
        "default",
        "s1",
        "greetserver",
        "IPv4",
    )
    assert parse_slice({"metadata": {"namespace": "default", "name": "s1"}, "addressType": "IPv4"}).service == ""


@pytest.mark.parametrize(
    ("owners", "uid"),
    [
        ([{"kind": "Service", "name": "greetserver", "uid": "s1"}], "s1"),
        ([{"kind": "ConfigMap", "name": "greetserver", "uid": "c1"}], ""),
        (None, ""),
    ],
)
def test_slice_knows_which_service_of_that_name(owners: list[Document] | None, uid: str) -> None:
    """The owner's uid distinguishes slices of a deleted Service from those of a new one."""
    slice_ = endpoint_slice()
    slice_["metadata"]["ownerReferences"] = owners
    assert parse_slice(slice_).owner_uid == uid


def test_slice_names_what_it_does_not_list() -> None:
    """Endpoints that are unready or lack the port are remembered as known."""
    unready = slice_endpoint("10.0.0.2", conditions=CONDITIONS["unready"])
    parsed = parse_slice(endpoint_slice("10.0.0.1", unready, {"addresses": []}))
    assert [e.address for e in parsed.endpoints] == ["10.0.0.1"]
    assert parsed.unlisted == {"10.0.0.2"}
    assert sorted(parsed.addresses()) == ["10.0.0.1", "10.0.0.2"]
    assert parse_slice(endpoint_slice("10.0.0.1", unready, ports=[])).unlisted == {"10.0.0.1", "10.0.0.2"}


@pytest.mark.parametrize("missing", [{"endpoints": None}, {"endpoints": []}, {"ports": None}, {"ports": []}])
def test_empty_slice_lists_nothing(missing: Document) -> None:
    """An empty slice, or one without ports, lists nothing and is no error."""
    assert endpoints_of({**endpoint_slice("10.0.0.1"), **missing}) == ()


@pytest.mark.parametrize(
    ("conditions", "state"),
    [
        (UNSET, READY),
        ({"ready": None, "serving": None, "terminating": None}, READY),
        ({"ready": True, "serving": True, "terminating": False}, READY),
        ({"ready": True, "serving": False, "terminating": False}, READY),
        ({"ready": False, "serving": False, "terminating": False}, None),
        ({"ready": False, "serving": True, "terminating": False}, None),
        ({"ready": False, "serving": True, "terminating": True}, DRAINING),
        ({"ready": False, "serving": False, "terminating": True}, None),
        ({"ready": False, "terminating": True}, None),
        ({"terminating": True}, DRAINING),
        ({"ready": True, "terminating": True}, DRAINING),
        ({"serving": False, "terminating": True}, None),
    ],
)
def test_conditions_have_defaults(conditions: dict[str, bool | None], state: EndpointState | None) -> None:
    """nil ready means ready, nil serving means the value of ready, nil terminating means false (KEP-752, KEP-1672)."""
    assert [found.state for found in endpoints_of(endpoint_slice(slice_endpoint(conditions=conditions)))] == (
        [state] if state else []
    )


@pytest.mark.parametrize(
    ("serving", "terminating", "state"),
    [(True, False, READY), (False, False, READY), (True, True, DRAINING), (False, True, None)],
)
def test_publish_not_ready_addresses(serving: bool, terminating: bool, state: EndpointState | None) -> None:
    """With publishNotReadyAddresses, terminating pods are still Draining."""
    conditions: dict[str, bool | None] = {"ready": True, "serving": serving, "terminating": terminating}
    assert [found.state for found in endpoints_of(endpoint_slice(slice_endpoint(conditions=conditions)))] == (
        [state] if state else []
    )


def test_endpoint_without_conditions_is_ready() -> None:
    """An endpoint without conditions is Ready."""
    assert endpoints_of(endpoint_slice({"addresses": ["10.0.0.1"]})) == (Endpoint("10.0.0.1", 50051),)


def test_first_address_stands_for_all() -> None:
    """The first address of an endpoint is used."""
    item = {**slice_endpoint(), "addresses": ["10.0.0.9", "10.0.0.1"]}
    assert [found.address for found in endpoints_of(endpoint_slice(item))] == ["10.0.0.9"]


def test_endpoint_without_an_address_is_passed_over() -> None:
    """An endpoint without an address is skipped."""
    assert endpoints_of(endpoint_slice({**slice_endpoint(), "addresses": []})) == ()


def test_what_is_not_a_pod_has_no_pod() -> None:
    """A target that is no pod gives no pod name."""
    item = {**slice_endpoint(), "targetRef": {"kind": "Node", "name": "n1", "uid": "x"}}
    assert endpoints_of(endpoint_slice(item)) == (Endpoint("10.0.0.1", 50051),)


@pytest.mark.parametrize(
    ("ports", "number"),
    [
        ([{"name": "grpc", "port": 1}, {"name": "metrics", "port": 2}], 1),
        ([{"name": "metrics", "port": 2}, {"name": "grpc", "port": 1}], 1),
        ([{"name": "", "port": 3}], 3),
        ([{"port": 3}], 3),
        ([{"name": "a", "port": 1}, {"name": "b", "port": 2}], None),
        ([{"name": "grpc"}], None),
    ],
)
def test_port_is_ours_by_name_or_the_only_one(ports: list[Document], number: int | None) -> None:
    """The port is the one named grpc, or the only one; it is never guessed."""
    assert [found.port for found in endpoints_of(endpoint_slice("10.0.0.1", ports=ports))] == (
        [number] if number else []
    )


# --- the union of slices


def test_each_slice_has_its_own_port_number() -> None:
    """A named port may have different numbers in different slices."""
    old = endpoint_slice("10.0.0.1", name="s1", port=1)
    new = endpoint_slice("10.0.0.2", name="s2", port=2)
    assert [found.target for found in endpoints_of(old, new)] == ["10.0.0.1:1", "10.0.0.2:2"]


@pytest.mark.parametrize("order", [1, -1])
def test_one_address_with_two_ports_is_two_backends(order: int) -> None:
    """One address with two ports gives two backends with separate states."""
    one = endpoint_slice(slice_endpoint("10.0.0.1", pod_uid="u1"), name="s1", port=1)
    going = slice_endpoint("10.0.0.1", pod_uid="u2", conditions=CONDITIONS["draining"])
    two = endpoint_slice(going, name="s2", port=2)
    found = endpoints_of(*[one, two][::order])
    assert [(each.target, each.pod_uid, each.state) for each in found] == [
        ("10.0.0.1:1", "u1", READY),
        ("10.0.0.1:2", "u2", DRAINING),
    ]


def test_endpoint_in_two_slices_is_one() -> None:
    """An endpoint in two slices is listed once."""
    assert len(endpoints_of(endpoint_slice("10.0.0.1", name="s1"), endpoint_slice("10.0.0.1", name="s2"))) == 1


@pytest.mark.parametrize("order", [1, -1])
def test_ready_wins_over_another_view(order: int) -> None:
    """If two slices disagree about an endpoint, Ready wins."""
    slices = [
        endpoint_slice(slice_endpoint(conditions=CONDITIONS["draining"]), name="s1"),
        endpoint_slice("10.0.0.1", name="s2"),
    ]
    assert [found.state for found in endpoints_of(*slices[::order])] == [READY]


@pytest.mark.parametrize("order", [1, -1])
def test_view_that_names_the_pod_wins(order: int) -> None:
    """If two slices list an address, the one that names the pod wins."""
    slices = [endpoint_slice({"addresses": ["10.0.0.1"]}, name="s1"), endpoint_slice("10.0.0.1", name="s2")]
    assert [found.pod_uid for found in endpoints_of(*slices[::order])] == ["uid-10.0.0.1"]


def test_address_that_another_pod_got_is_another_backend() -> None:
    """An address that moves to another pod is a new backend, since the pod is part of the identity."""
    (old,), (new,) = (endpoints_of(endpoint_slice(slice_endpoint(pod_uid=uid))) for uid in ("u1", "u2"))
    assert old.target == new.target
    assert old.identity != new.identity


@pytest.mark.parametrize("order", [1, -1])
def test_one_family_counts(order: int) -> None:
    """Of a dual-stack Service, each pod is listed once."""
    four = endpoint_slice(slice_endpoint("10.0.0.1", pod_uid="u1"), name="s4")
    six = endpoint_slice(slice_endpoint("fd00::1", pod_uid="u1"), name="s6", address_type="IPv6")
    assert [found.address for found in endpoints_of(*[four, six][::order])] == ["10.0.0.1"]
    assert endpoints_of(*[endpoint_slice(name="s4"), six][::order]) == ()


def test_single_family_of_ipv6_counts_unasked() -> None:
    """An IPv6-only Service needs no setting."""
    (found,) = endpoints_of(endpoint_slice("fd00::1", address_type="IPv6"))
    assert found.target == "[fd00::1]:50051"


def test_fqdn_slices_are_passed_over() -> None:
    """Slices of type FQDN are ignored."""
    assert endpoints_of(endpoint_slice("greet.example.com", address_type="FQDN")) == ()


# --- which Service's slices


def made_for(uid: str, created: int, name: str = "s1") -> Slice:
    """Return a slice of the Service with ``uid``, created in that second; without a uid, one made by hand."""
    return Slice("default", name, "greetserver", "IPv4", (), uid, created=f"2026-01-01T00:00:{created:02}Z")


def test_slice_knows_when_it_was_made() -> None:
    """The creation time is parsed."""
    assert parse_slice(endpoint_slice()).created == ""
    assert parse_slice(endpoint_slice(created="2026-01-01T00:00:07Z")).created == "2026-01-01T00:00:07Z"


def test_slices_of_the_service_that_is_there_count() -> None:
    """With a known Service uid, its slices and those without an owner count."""
    old, new, by_hand = made_for("u1", 5), made_for("u2", 3), made_for("", 1)
    assert select_current([old, new, by_hand], "u2") == [new, by_hand]
    assert select_current([old], "u2") == []


def test_youngest_slices_tell_the_service_that_is_there() -> None:
    """Without a known uid, the youngest slices decide which Service counts; slices of the same second both count."""
    first, later, new = made_for("u1", 1), made_for("u1", 4), made_for("u2", 5)
    assert select_current([new, first, later]) == [new]
    assert select_current([first, later]) == [first, later]
    assert select_current([later, made_for("u2", 4)]) == [later, made_for("u2", 4)]
    assert select_current([made_for("", 9), first]) == [made_for("", 9), first]
    assert select_current([]) == []


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=3), min_size=1, max_size=4), st.lists(st.integers(0, 59)))
def test_who_does_not_know_the_service_counts_as_who_does(services: list[list[bool]], by_hand: list[int]) -> None:
    """Property: both rules agree for Services that replace each other, with any leftover slices."""
    seconds = count()
    left = [
        made_for(f"u{n}", next(seconds), f"s{n}-{m}")
        for n, slices_ in enumerate(services)
        for m, stays in enumerate(slices_)
        if stays
    ]
    found = [*left, *(made_for("", second) for second in by_hand)]
    assert select_current(found[::-1]) == select_current(found[::-1], left[-1].owner_uid if left else "")


def test_slices_are_values() -> None:
    """Equal documents give equal slices, so a relist shows no change."""
    one, two = parse_slice(endpoint_slice("10.0.0.1")), parse_slice(endpoint_slice("10.0.0.1"))
    assert one == two
    assert isinstance(one, Slice)

"""Properties of the endpoint algebra, against a slow and simple model."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from backendpool.api.endpoint_slices import parse_slice, union
from backendpool.api.endpoints import Endpoint, EndpointSet, EndpointState
from tests.fakes.objects import Document, endpoint_slice, slice_endpoint

READY, DRAINING = EndpointState.READY, EndpointState.DRAINING
UNSET: dict[str, bool | None] = {}

CONDITION = st.sampled_from([None, True, False])
PORTS: st.SearchStrategy[list[Document]] = st.sampled_from([[{"name": "grpc", "port": 1}], [{"port": 2}], []])


@st.composite
def slices(draw: st.DrawFn, family: str = "IPv4") -> Document:
    """Generate a slice over few addresses, ports and pods, so that they often collide."""
    endpoints = st.builds(
        _drawn_endpoint,
        address=st.sampled_from([f"10.0.0.{n}" for n in range(1, 6)]),
        uid=st.sampled_from(["", "u1", "u2"]),
        ready=CONDITION,
        serving=CONDITION,
        terminating=CONDITION,
        zone=st.sampled_from(["a", "b"]),
    )
    return endpoint_slice(
        *draw(st.lists(endpoints, max_size=5)),
        name=f"s{draw(st.integers(1, 9))}",
        address_type=family,
        ports=draw(PORTS),
    )


def _drawn_endpoint(
    address: str, uid: str, ready: bool | None, serving: bool | None, terminating: bool | None, zone: str
) -> Document:
    given = {"ready": ready, "serving": serving, "terminating": terminating}
    conditions = {name: value for name, value in given.items() if value is not None}
    item = slice_endpoint(address, pod_name=f"pod-{uid}", pod_uid=uid, conditions=conditions, zone=zone)
    return item if uid else {**item, "targetRef": None}


def _views(documents: list[Document]) -> dict[tuple[str, int], list[tuple[EndpointState, Document]]]:
    """The model: for each address and port, every state in which some slice lists it."""
    views: dict[tuple[str, int], list[tuple[EndpointState, Document]]] = {}
    for doc in documents:
        for port in doc["ports"]:
            for item in doc["endpoints"]:
                conditions = item["conditions"]
                ready = conditions.get("ready", True)
                serving = conditions.get("serving", ready)
                state = READY if ready else None
                if conditions.get("terminating", False):
                    state = DRAINING if serving else None
                if state is not None:
                    views.setdefault((item["addresses"][0], port["port"]), []).append((state, item))
    return views


@given(st.lists(slices(), max_size=5))
def test_union_is_that_of_the_model(documents: list[Document]) -> None:
    """Each listed address and port is in the union once, in a state that a slice gives it, Ready if any does."""
    views = _views(documents)
    found = _endpoints(*documents)
    assert {(one.address, one.port) for one in found} == views.keys()
    for one in found:
        states = {state for state, _ in views[one.address, one.port]}
        assert one.state is (READY if READY in states else DRAINING)
        pods = {
            (item["targetRef"] or {}).get("uid", "")
            for state, item in views[one.address, one.port]
            if state is one.state
        }
        assert one.pod_uid in pods
        assert one.pod_uid or pods == {""}


@given(st.lists(slices(), max_size=5))
def test_set_is_sorted_and_has_each_address_once(documents: list[Document]) -> None:
    """The set is sorted by address and port, without duplicates."""
    keys = [(one.address, one.port) for one in _endpoints(*documents)]
    assert keys == sorted(set(keys))


@given(st.lists(slices(), max_size=5), st.randoms(use_true_random=False))
def test_order_does_not_matter(documents: list[Document], dice: random.Random) -> None:
    """The order of slices and endpoints changes neither the set nor its revision."""
    shuffled = [{**doc, "endpoints": dice.sample(doc["endpoints"], len(doc["endpoints"]))} for doc in documents]
    dice.shuffle(shuffled)
    assert _union(shuffled) == _union(documents)


@given(st.lists(slices(), max_size=5))
def test_being_told_twice_changes_nothing(documents: list[Document]) -> None:
    """Duplicate slices or endpoints change nothing."""
    assert _union(documents + documents) == _union(documents)


@given(slices(), st.data())
def test_cut_into_slices_does_not_matter(doc: Document, data: st.DataObject) -> None:
    """The distribution of endpoints over slices does not matter."""
    homes = data.draw(st.lists(st.sampled_from("xyz"), min_size=len(doc["endpoints"]), max_size=len(doc["endpoints"])))
    parts = [
        {**doc, "endpoints": [item for item, home in zip(doc["endpoints"], homes, strict=True) if home == name]}
        for name in "xyz"
    ]
    assert _union(parts) == _union([doc])


@given(st.lists(slices(), min_size=1, max_size=5))
def test_slice_that_goes_takes_only_its_own(documents: list[Document]) -> None:
    """Removing a slice removes only endpoints that no other slice lists."""
    gone, *rest = documents
    before = {(one.address, one.port) for one in _endpoints(*documents)}
    after = {(one.address, one.port) for one in _endpoints(*rest)}
    assert after <= before
    assert before - after <= _views([gone]).keys() - _views(rest).keys()


@given(st.lists(slices(), max_size=3), st.lists(slices(), max_size=3))
def test_revision_names_the_content(left: list[Document], right: list[Document]) -> None:
    """Two sets have equal revisions exactly if they are equal."""
    one, two = _union(left), _union(right)
    assert (one.revision == two.revision) == (one.endpoints == two.endpoints)


@given(st.lists(slices(), max_size=4))
def test_states_part_the_set(documents: list[Document]) -> None:
    """Each endpoint is either Ready or Draining, and a nonempty set has an eligible endpoint."""
    found = _union(documents)
    assert sorted(found.ready + found.draining, key=lambda one: one.identity) == sorted(
        found.endpoints, key=lambda one: one.identity
    )
    assert bool(found.eligible) == bool(found.endpoints)


@given(st.lists(slices("IPv4"), max_size=3), st.lists(slices("IPv6"), max_size=3))
def test_families_do_not_mix(four: list[Document], six: list[Document]) -> None:
    """Slices of the other address family do not contribute."""
    assert _union(four + six) == _union(four or six)


def _union(documents: list[Document]) -> EndpointSet:
    return union(map(parse_slice, documents))


def _endpoints(*documents: Document) -> tuple[Endpoint, ...]:
    return _union([*documents]).endpoints

"""The status document, and how clients read it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from backendpool.api.constants import MAX_STATUS_ENDPOINTS
from backendpool.api.endpoints import Endpoint, EndpointSet, EndpointState
from backendpool.api.status import build_status, endpoints_of
from tests.fakes.crd import crd_schema
from tests.fakes.objects import parsed_pool
from tests.unit.api.status.statuses import DONE, GOING, NOW, ONE, TWO, status_of

ENDPOINTS = st.builds(
    Endpoint,
    address=st.ip_addresses().map(str),
    port=st.integers(1, 65535),
    pod_uid=st.sampled_from(["", "u1", "u2"]),
    pod_name=st.sampled_from(["", "p1"]),
    node_name=st.sampled_from(["", "n1"]),
    zone=st.sampled_from(["", "a", "b"]),
    state=st.sampled_from(EndpointState),
)


def test_whole_document() -> None:
    """The status of a healthy pool, field by field."""
    status = status_of(parsed_pool(), EndpointSet.of([ONE, GOING]))
    conditions = status.pop("conditions")
    assert [item["type"] for item in conditions] == [
        "Ready",
        "EndpointsAvailable",
        "LookasideAvailable",
        "Reconciling",
        "Stalled",
    ]
    assert {item["observedGeneration"] for item in conditions} == {3}
    assert status == {
        "observedGeneration": 3,
        "serviceName": "greetserver",
        "lookaside": {
            "target": "greetserver-lookaside.default.svc:50055",
            "xdsTarget": "xds:///greetserver.default",
        },
        "revision": EndpointSet.of([ONE, GOING]).revision,
        "ready": 1,
        "draining": 1,
        "total": 2,
        "zones": [{"zone": "a", "ready": 1}],
        "endpoints": [
            {
                "address": "10.0.0.1",
                "port": 50051,
                "podName": "p1",
                "podUID": "u1",
                "nodeName": "n1",
                "zone": "a",
                "state": "Ready",
            },
            {
                "address": "10.0.0.2",
                "port": 50051,
                "podName": "p2",
                "podUID": "u2",
                "nodeName": "n2",
                "zone": "b",
                "state": "Draining",
            },
        ],
        "truncated": False,
    }


def test_every_field_stands_in_the_crd() -> None:
    """Every field is in the CRD, so the API server prunes nothing."""
    _assert_known(status_of(parsed_pool()), crd_schema()["status"])


@given(st.lists(ENDPOINTS, max_size=20).map(EndpointSet.of))
def test_clients_read_back_what_was_written(endpoints: EndpointSet) -> None:
    """Parsing a status returns the endpoints that were written."""
    assert endpoints_of(status_of(parsed_pool(), endpoints)) == endpoints


@given(st.lists(ENDPOINTS, max_size=20).map(EndpointSet.of))
def test_status_of_an_unchanged_pool_is_equal(endpoints: EndpointSet) -> None:
    """Building the status of an unchanged pool again gives an equal document."""
    first = status_of(parsed_pool(), endpoints)
    again = build_status(replace(parsed_pool(), status=first), endpoints, DONE, NOW + timedelta(days=1))
    assert again == first


def test_long_list_is_cut_and_says_so() -> None:
    """A long list is truncated; counts and revision cover the whole set."""
    many = EndpointSet.of(replace(ONE, port=port) for port in range(1, MAX_STATUS_ENDPOINTS + 2))
    status = status_of(parsed_pool(), many)
    assert len(status["endpoints"]) == MAX_STATUS_ENDPOINTS
    assert (status["truncated"], status["ready"], status["total"]) == (True, 1001, 1001)
    read = endpoints_of(status)
    assert (read.truncated, read.revision) == (True, many.revision)
    assert read.endpoints == many.endpoints[:MAX_STATUS_ENDPOINTS]


def test_list_of_the_longest_length_is_whole() -> None:
    """A list of exactly 1,000 endpoints is not truncated."""
    just = EndpointSet.of(replace(ONE, port=port) for port in range(1, MAX_STATUS_ENDPOINTS + 1))
    assert status_of(parsed_pool(), just)["truncated"] is False


def test_state_from_a_newer_operator_is_left_out() -> None:
    """Endpoints in an unknown state are ignored by clients."""
    status = status_of(parsed_pool())
    status["endpoints"][0]["state"] = "Quarantined"
    assert endpoints_of(status).endpoints == (TWO,)


def test_status_that_is_not_written_yet_lists_nothing() -> None:
    """An empty status has no revision, which distinguishes it from an empty pool."""
    assert endpoints_of({}) == EndpointSet((), revision="")


def test_zones_count_ready_endpoints() -> None:
    """Zones are sorted and count ready endpoints with a zone."""
    nowhere = replace(ONE, address="10.0.0.3", zone="")
    here = replace(ONE, address="10.0.0.4")
    status = status_of(parsed_pool(), EndpointSet.of([TWO, ONE, here, nowhere, replace(GOING, address="10.0.0.5")]))
    assert status["zones"] == [{"zone": "a", "ready": 2}, {"zone": "b", "ready": 1}]


def _assert_known(value: Any, schema: dict[str, Any]) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            assert name in schema["properties"]
            _assert_known(inner, schema["properties"][name])
    if isinstance(value, list):
        for item in value:
            _assert_known(item, schema["items"])
    if "enum" in schema:
        assert value in schema["enum"]

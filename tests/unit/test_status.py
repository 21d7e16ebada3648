"""The status document: what it says of a pool, and that clients read back what was written."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backendpool.assessment import ChildrenView
from backendpool.endpoints import Endpoint, EndpointSet, EndpointState
from backendpool.names import MAX_STATUS_ENDPOINTS
from backendpool.pool import Pool
from backendpool.status import build_status, endpoints_of
from tests.unit.pools import crd_schema, pool

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DONE = ChildrenView(applied=True, lookaside_available=2)

ONE = Endpoint("10.0.0.1", 50051, pod_uid="u1", pod_name="p1", node_name="n1", zone="a")
TWO = Endpoint("10.0.0.2", 50051, pod_uid="u2", pod_name="p2", node_name="n2", zone="b")
GOING = replace(TWO, state=EndpointState.DRAINING)
BOTH = EndpointSet.of([ONE, TWO])
EMPTY = EndpointSet.of([])

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


def status_of(of: Pool, endpoints: EndpointSet | None = BOTH, children: ChildrenView = DONE) -> dict[str, Any]:
    return build_status(of, endpoints, children, NOW)


def told(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Status and reason of each condition."""
    return {item["type"]: (item["status"], item["reason"]) for item in status["conditions"]}


def message(status: dict[str, Any], kind: str) -> str:
    return str(next(item["message"] for item in status["conditions"] if item["type"] == kind))


def test_whole_document() -> None:
    """A healthy pool's status, field by field."""
    status = status_of(pool(), EndpointSet.of([ONE, GOING]))
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
    """The API server prunes nothing of it, else every status would look changed."""
    _assert_known(status_of(pool()), crd_schema()["status"])


@given(st.lists(ENDPOINTS, max_size=20).map(EndpointSet.of))
def test_clients_read_back_what_was_written(endpoints: EndpointSet) -> None:
    """The list that comes out of a status is the one that went in."""
    assert endpoints_of(status_of(pool(), endpoints)) == endpoints


@given(st.lists(ENDPOINTS, max_size=20).map(EndpointSet.of))
def test_status_of_an_unchanged_pool_is_equal(endpoints: EndpointSet) -> None:
    """However often and late it is built, it gives no reason to write."""
    first = status_of(pool(), endpoints)
    again = build_status(replace(pool(), status=first), endpoints, DONE, NOW + timedelta(days=1))
    assert again == first


def test_long_list_is_cut_and_says_so() -> None:
    """The status stays within what etcd takes; counts and revision are those of the whole set."""
    many = EndpointSet.of(replace(ONE, port=port) for port in range(1, MAX_STATUS_ENDPOINTS + 2))
    status = status_of(pool(), many)
    assert len(status["endpoints"]) == MAX_STATUS_ENDPOINTS
    assert (status["truncated"], status["ready"], status["total"]) == (True, 1001, 1001)
    read = endpoints_of(status)
    assert (read.truncated, read.revision) == (True, many.revision)
    assert read.endpoints == many.endpoints[:MAX_STATUS_ENDPOINTS]


def test_list_of_the_longest_length_is_whole() -> None:
    """A thousand endpoints are not too many."""
    just = EndpointSet.of(replace(ONE, port=port) for port in range(1, MAX_STATUS_ENDPOINTS + 1))
    assert status_of(pool(), just)["truncated"] is False


def test_state_from_a_newer_operator_is_left_out() -> None:
    """A client does not call an endpoint whose state it does not understand."""
    status = status_of(pool())
    status["endpoints"][0]["state"] = "Quarantined"
    assert endpoints_of(status).endpoints == (TWO,)


def test_status_that_is_not_written_yet_lists_nothing() -> None:
    """An empty status has no revision, by which clients tell it from an empty pool."""
    assert endpoints_of({}) == EndpointSet((), revision="")


def test_zones_count_ready_endpoints() -> None:
    """Zones are sorted, and endpoints without a zone or on their way out are not in them."""
    nowhere = replace(ONE, address="10.0.0.3", zone="")
    here = replace(ONE, address="10.0.0.4")
    status = status_of(pool(), EndpointSet.of([TWO, ONE, here, nowhere, replace(GOING, address="10.0.0.5")]))
    assert status["zones"] == [{"zone": "a", "ready": 2}, {"zone": "b", "ready": 1}]


def test_healthy_pool_is_ready() -> None:
    """Children, an endpoint and a lookaside are all that it takes."""
    assert told(status_of(pool())) == {
        "Ready": ("True", "PoolReady"),
        "EndpointsAvailable": ("True", "EndpointsReady"),
        "LookasideAvailable": ("True", "LookasideReady"),
        "Reconciling": ("False", "Applied"),
        "Stalled": ("False", "NotStalled"),
    }


@pytest.mark.parametrize(
    ("endpoints", "children", "reason"),
    [
        (BOTH, ChildrenView(lookaside_available=2), "Applying"),
        (BOTH, replace(DONE, applied=False, failure="It failed."), "ApplyFailed"),
        (BOTH, replace(DONE, applied=False, conflict="It is taken."), "Conflict"),
        (EMPTY, DONE, "NoEndpoints"),
        (EndpointSet.of([GOING]), DONE, "AllDraining"),
        (None, DONE, "EndpointsPending"),
        (BOTH, replace(DONE, lookaside_available=0), "LookasideStarting"),
    ],
)
def test_each_hindrance_alone_keeps_the_pool_from_ready(
    endpoints: EndpointSet | None, children: ChildrenView, reason: str
) -> None:
    """Ready gives the reason of what holds it back."""
    assert told(status_of(pool(), endpoints, children))["Ready"] == ("False", reason)


def test_one_lookaside_replica_is_enough() -> None:
    """A rollout or a lost node does not make the pool unready."""
    status = status_of(pool(), children=replace(DONE, lookaside_available=1))
    assert told(status)["Ready"] == ("True", "PoolReady")
    assert message(status, "LookasideAvailable") == "1 replica is available."


def test_pool_without_a_lookaside_is_ready_without_one() -> None:
    """``replicas: 0`` is a choice: it is stated, no hindrance, and no address is given out."""
    status = status_of(pool(lookaside={"replicas": 0}), children=ChildrenView(applied=True))
    assert told(status)["LookasideAvailable"] == ("False", "Disabled")
    assert told(status)["Ready"] == ("True", "PoolReady")
    assert "lookaside" not in status


def test_lookaside_that_went_away_is_told_apart_from_one_that_starts() -> None:
    """Only the loss of what was there is worth a warning, for as long as it lasts."""
    away = ChildrenView(applied=True)
    before = status_of(pool())
    after = status_of(replace(pool(), status=before), children=away)
    assert told(after)["LookasideAvailable"] == ("False", "LookasideUnavailable")
    still = status_of(replace(pool(), status=after), children=away)
    assert told(still)["LookasideAvailable"] == ("False", "LookasideUnavailable")
    assert "kubectl describe deployment greetserver-lookaside -n default" in message(still, "Ready")


def test_lookaside_that_starts_slowly_is_no_loss() -> None:
    """It is starting for as long as it was never there."""
    starting = ChildrenView(applied=True)
    before = status_of(pool(), children=starting)
    after = status_of(replace(pool(), status=before), children=starting)
    assert told(after)["LookasideAvailable"] == ("False", "LookasideStarting")


def test_no_endpoints_says_where_to_look() -> None:
    """The message is a command that shows the pods in question."""
    status = status_of(pool(selector={"b": "2", "a": "1"}, port="grpc"), EMPTY)
    assert message(status, "EndpointsAvailable") == (
        "No pod can take calls. Check that pods are ready and serve gRPC on port grpc: "
        "kubectl get pods -n default -l a=1,b=2."
    )


@pytest.mark.parametrize(
    ("endpoints", "sentence"),
    [
        (EndpointSet.of([GOING]), "The only endpoint is terminating, and serves until then."),
        (
            EndpointSet.of([GOING, replace(GOING, port=1)]),
            "All 2 endpoints are terminating, and serve until then.",
        ),
        (EndpointSet.of([ONE]), "1 endpoint is ready."),
        (BOTH, "2 endpoints are ready."),
    ],
)
def test_counts_are_told_in_words(endpoints: EndpointSet, sentence: str) -> None:
    """One and many read as a person would say them."""
    assert message(status_of(pool(), endpoints), "EndpointsAvailable").startswith(sentence)


@pytest.mark.parametrize(
    "children",
    [ChildrenView(), ChildrenView(failure="It failed."), ChildrenView(conflict="It is taken."), DONE],
)
@pytest.mark.parametrize("of", [pool(), pool(policy="Newer")])
def test_reconciling_and_stalled_exclude_each_other(of: Pool, children: ChildrenView) -> None:
    """kstatus: there is either work under way or nothing left to try."""
    conditions = told(status_of(of, children=children))
    assert not conditions["Reconciling"][0] == conditions["Stalled"][0] == "True"


def test_conflict_keeps_the_last_endpoints() -> None:
    """A Service that was taken over does not cost clients their good backends."""
    before = status_of(pool())
    after = status_of(replace(pool(), status=before), None, ChildrenView(conflict="Rename the Service x."))
    assert endpoints_of(after) == BOTH
    assert (after["ready"], after["zones"]) == (before["ready"], before["zones"])
    assert told(after)["Stalled"] == ("True", "Conflict")
    assert told(after)["EndpointsAvailable"] == ("Unknown", "EndpointsPending")
    assert message(after, "Ready") == "Rename the Service x."


def test_endpoints_that_cannot_be_followed_are_told_as_old() -> None:
    """Nobody knows that they are wrong, so they stand; nobody knows that they are right, so nobody says so."""
    before = status_of(pool())
    after = build_status(replace(pool(), status=before), BOTH, DONE, NOW, refused={"EndpointSlice": "403 Forbidden"})
    assert endpoints_of(after) == BOTH
    assert told(after)["EndpointsAvailable"] == told(after)["Ready"] == ("Unknown", "EndpointsStale")
    assert "403 Forbidden" in message(after, "Ready")


def test_kinds_that_may_not_be_watched_are_told() -> None:
    """There is work left that cannot be seen (kstatus: Reconciling), and calls go on as they did."""
    refused = {"Service": "403 Forbidden", "Role": "403 Forbidden: no"}
    status = build_status(pool(), BOTH, DONE, NOW, refused=refused)
    assert told(status)["Reconciling"] == ("True", "WatchRefused")
    assert told(status)["Ready"] == ("True", "PoolReady")
    assert message(status, "Reconciling").startswith(
        "The operator may not watch objects of the kind Role: 403 Forbidden: no. Nor may it watch Service. "
    )


@pytest.mark.parametrize(
    ("children", "reason"),
    [
        (ChildrenView(), "Applying"),
        (ChildrenView(failure="No."), "ApplyFailed"),
        (ChildrenView(conflict="X."), "Conflict"),
    ],
)
def test_what_holds_the_pool_back_goes_before_a_kind_that_may_not_be_watched(
    children: ChildrenView, reason: str
) -> None:
    """It is what somebody waits for."""
    status = build_status(pool(), BOTH, children, NOW, refused={"Service": "403 Forbidden"})
    assert told(status)["Reconciling"][1] == told(status)["Ready"][1] == reason


def test_unknown_endpoints_of_a_new_pool_are_not_none() -> None:
    """Clients that wait for a revision are not told of an empty pool before it is known to be empty."""
    status = status_of(pool(), None)
    assert "revision" not in status
    assert "endpoints" not in status


def test_bad_spec_keeps_what_was_good() -> None:
    """Addresses and endpoints stand as they were, since nothing was changed in the cluster."""
    before = status_of(pool(lookaside={"port": 6000}))
    bad = replace(pool(policy="Newer"), generation=4, status=before)
    after = status_of(bad, BOTH)
    assert after["observedGeneration"] == 4
    assert after["lookaside"]["target"] == "greetserver-lookaside.default.svc:6000"
    assert after["serviceName"] == "greetserver"
    assert endpoints_of(after) == BOTH
    assert told(after)["Stalled"] == ("True", "InvalidSpec")
    assert told(after)["Ready"] == ("False", "InvalidSpec")
    assert message(after, "Stalled") == (
        "The spec cannot be acted on; spec.policy: this version knows "
        "RoundRobin, Random, LeastRequest, WeightedRoundRobin, ConsistentHash, not 'Newer'. "
        "Change it, or update the operator and its CRD."
    )


def test_bad_spec_says_where_to_look_without_a_selector() -> None:
    """Advice is given also where the selector cannot be read."""
    status = status_of(pool(selector=None), EMPTY)
    assert message(status, "EndpointsAvailable").endswith("Check the pods that the pool's Service selects.")


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

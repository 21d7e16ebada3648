"""The conditions in a status."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backendpool.api.conditions import ChildrenStatus
from backendpool.api.endpoints import EndpointSet
from backendpool.api.pool import Pool
from backendpool.api.status import build_status, endpoints_of
from tests.fakes.objects import parsed_pool
from tests.unit.api.status.statuses import BOTH, DONE, EMPTY, GOING, NOW, ONE, status_of


def told(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return status and reason of each condition."""
    return {item["type"]: (item["status"], item["reason"]) for item in status["conditions"]}


def message(status: dict[str, Any], kind: str) -> str:
    return str(next(item["message"] for item in status["conditions"] if item["type"] == kind))


def test_healthy_pool_is_ready() -> None:
    """A pool with applied children, an endpoint and a lookaside is Ready."""
    assert told(status_of(parsed_pool())) == {
        "Ready": ("True", "PoolReady"),
        "EndpointsAvailable": ("True", "EndpointsReady"),
        "LookasideAvailable": ("True", "LookasideReady"),
        "Reconciling": ("False", "Applied"),
        "Stalled": ("False", "NotStalled"),
    }


@pytest.mark.parametrize(
    ("endpoints", "children", "reason"),
    [
        (BOTH, ChildrenStatus(lookaside_available=2), "Applying"),
        (BOTH, replace(DONE, applied=False, failure="It failed."), "ApplyFailed"),
        (BOTH, replace(DONE, applied=False, conflict="It is taken."), "Conflict"),
        (EMPTY, DONE, "NoEndpoints"),
        (EndpointSet.of([GOING]), DONE, "AllDraining"),
        (None, DONE, "EndpointsPending"),
        (BOTH, replace(DONE, lookaside_available=0), "LookasideStarting"),
    ],
)
def test_each_hindrance_alone_keeps_the_pool_from_ready(
    endpoints: EndpointSet | None, children: ChildrenStatus, reason: str
) -> None:
    """Ready has the reason of the condition that makes it False."""
    assert told(status_of(parsed_pool(), endpoints, children))["Ready"] == ("False", reason)


def test_one_lookaside_replica_is_enough() -> None:
    """One available lookaside replica is enough for Ready, so rollouts and lost nodes do not matter."""
    status = status_of(parsed_pool(), children=replace(DONE, lookaside_available=1))
    assert told(status)["Ready"] == ("True", "PoolReady")
    assert message(status, "LookasideAvailable") == "1 replica is available."


def test_pool_without_a_lookaside_is_ready_without_one() -> None:
    """With ``replicas: 0`` the pool is Ready, the condition says Disabled, and no address is published."""
    status = status_of(parsed_pool(lookaside={"replicas": 0}), children=ChildrenStatus(applied=True))
    assert told(status)["LookasideAvailable"] == ("False", "Disabled")
    assert told(status)["Ready"] == ("True", "PoolReady")
    assert "lookaside" not in status


def test_lookaside_that_went_away_is_told_apart_from_one_that_starts() -> None:
    """Losing all available replicas is a warning; a first start is not."""
    away = ChildrenStatus(applied=True)
    before = status_of(parsed_pool())
    after = status_of(replace(parsed_pool(), status=before), children=away)
    assert told(after)["LookasideAvailable"] == ("False", "LookasideUnavailable")
    still = status_of(replace(parsed_pool(), status=after), children=away)
    assert told(still)["LookasideAvailable"] == ("False", "LookasideUnavailable")
    assert "kubectl describe deployment greetserver-lookaside -n default" in message(still, "Ready")


def test_lookaside_that_starts_slowly_is_no_loss() -> None:
    """A lookaside that was never available is starting, however long it takes."""
    starting = ChildrenStatus(applied=True)
    before = status_of(parsed_pool(), children=starting)
    after = status_of(replace(parsed_pool(), status=before), children=starting)
    assert told(after)["LookasideAvailable"] == ("False", "LookasideStarting")


def test_no_endpoints_says_where_to_look() -> None:
    """The message has a command that lists the selected pods."""
    status = status_of(parsed_pool(selector={"b": "2", "a": "1"}, port="grpc"), EMPTY)
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
    """Messages use singular and plural correctly."""
    assert message(status_of(parsed_pool(), endpoints), "EndpointsAvailable").startswith(sentence)


@pytest.mark.parametrize(
    "children",
    [ChildrenStatus(), ChildrenStatus(failure="It failed."), ChildrenStatus(conflict="It is taken."), DONE],
)
@pytest.mark.parametrize("of", [parsed_pool(), parsed_pool(policy="Newer")])
def test_reconciling_and_stalled_exclude_each_other(of: Pool, children: ChildrenStatus) -> None:
    """Reconciling and Stalled are never both True (kstatus)."""
    conditions = told(status_of(of, children=children))
    assert not conditions["Reconciling"][0] == conditions["Stalled"][0] == "True"


def test_conflict_keeps_the_last_endpoints() -> None:
    """A conflict about the Service keeps the last endpoints."""
    before = status_of(parsed_pool())
    after = status_of(replace(parsed_pool(), status=before), None, ChildrenStatus(conflict="Rename the Service x."))
    assert endpoints_of(after) == BOTH
    assert (after["ready"], after["zones"]) == (before["ready"], before["zones"])
    assert told(after)["Stalled"] == ("True", "Conflict")
    assert told(after)["EndpointsAvailable"] == ("Unknown", "EndpointsPending")
    assert message(after, "Ready") == "Rename the Service x."


def test_endpoints_that_cannot_be_followed_are_told_as_old() -> None:
    """Endpoints that can no longer be watched are kept and reported as stale."""
    before = status_of(parsed_pool())
    after = build_status(
        replace(parsed_pool(), status=before), BOTH, DONE, NOW, unwatchable={"EndpointSlice": "403 Forbidden"}
    )
    assert endpoints_of(after) == BOTH
    assert told(after)["EndpointsAvailable"] == told(after)["Ready"] == ("Unknown", "EndpointsStale")
    assert "403 Forbidden" in message(after, "Ready")


def test_kinds_that_may_not_be_watched_are_told() -> None:
    """A kind that can no longer be watched sets Reconciling and keeps the pool Ready."""
    refused = {"Service": "403 Forbidden", "Role": "403 Forbidden: no"}
    status = build_status(parsed_pool(), BOTH, DONE, NOW, unwatchable=refused)
    assert told(status)["Reconciling"] == ("True", "WatchRefused")
    assert told(status)["Ready"] == ("True", "PoolReady")
    assert message(status, "Reconciling").startswith(
        "The operator has lost permission to watch Role: 403 Forbidden: no. The same holds for Service. "
    )


@pytest.mark.parametrize(
    ("children", "reason"),
    [
        (ChildrenStatus(), "Applying"),
        (ChildrenStatus(failure="No."), "ApplyFailed"),
        (ChildrenStatus(conflict="X."), "Conflict"),
    ],
)
def test_what_holds_the_pool_back_goes_before_a_kind_that_may_not_be_watched(
    children: ChildrenStatus, reason: str
) -> None:
    """A reason that makes the pool unready precedes a kind that can no longer be watched."""
    status = build_status(parsed_pool(), BOTH, children, NOW, unwatchable={"Service": "403 Forbidden"})
    assert told(status)["Reconciling"][1] == told(status)["Ready"][1] == reason


def test_unknown_endpoints_of_a_new_pool_are_not_none() -> None:
    """A new pool with unknown endpoints has no revision, so clients do not take it for empty."""
    status = status_of(parsed_pool(), None)
    assert "revision" not in status
    assert "endpoints" not in status


def test_bad_spec_keeps_what_was_good() -> None:
    """With an invalid spec, addresses and endpoints are kept."""
    before = status_of(parsed_pool(lookaside={"port": 6000}))
    bad = replace(parsed_pool(policy="Newer"), generation=4, status=before)
    after = status_of(bad, BOTH)
    assert after["observedGeneration"] == 4
    assert after["lookaside"]["target"] == "greetserver-lookaside.default.svc:6000"
    assert after["serviceName"] == "greetserver"
    assert endpoints_of(after) == BOTH
    assert told(after)["Stalled"] == ("True", "InvalidSpec")
    assert told(after)["Ready"] == ("False", "InvalidSpec")
    assert message(after, "Stalled") == (
        "The spec is invalid for this operator: spec.policy: this version knows "
        "RoundRobin, Random, LeastRequest, WeightedRoundRobin, ConsistentHash, not 'Newer'. "
        "Change it, or update the operator and its CRD."
    )


def test_bad_spec_says_where_to_look_without_a_selector() -> None:
    """The message has advice even if the selector cannot be read."""
    status = status_of(parsed_pool(selector=None), EMPTY)
    assert message(status, "EndpointsAvailable").endswith("Check the pods that the pool's Service selects.")

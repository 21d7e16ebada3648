"""Endpoints and endpoint sets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backendpool.api.endpoints import Endpoint, EndpointSet, EndpointState

DRAINING = EndpointState.DRAINING


def test_state_is_no_part_of_identity() -> None:
    """An endpoint that begins to drain keeps its identity."""
    ready = Endpoint("10.0.0.1", 1, pod_uid="u1")
    assert replace(ready, state=DRAINING).identity == ready.identity


def test_draining_takes_calls_only_where_nothing_is_ready() -> None:
    """Draining endpoints are eligible only if none is Ready, as in kube-proxy."""
    ready, going = Endpoint("10.0.0.1", 1), Endpoint("10.0.0.2", 1, state=DRAINING)
    assert EndpointSet.of([ready, going]).eligible == (ready,)
    assert EndpointSet.of([going]).eligible == (going,)
    assert EndpointSet.of([]).eligible == ()


def test_whole_set_is_not_truncated() -> None:
    """Only a set that was read from a truncated list is truncated."""
    assert EndpointSet.of([Endpoint("10.0.0.1", 1)]).truncated is False


@pytest.mark.parametrize(
    "change",
    [
        {"address": "10.0.0.2"},
        {"port": 2},
        {"pod_uid": "u2"},
        {"pod_name": "p"},
        {"node_name": "n"},
        {"zone": "z"},
        {"state": DRAINING},
    ],
)
def test_every_field_is_in_the_revision(change: dict[str, Any]) -> None:
    """Every field of an endpoint changes the revision."""
    endpoint = Endpoint("10.0.0.1", 1)
    assert EndpointSet.of([endpoint]).revision != EndpointSet.of([replace(endpoint, **change)]).revision

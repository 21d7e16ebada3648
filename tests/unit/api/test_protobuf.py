"""Pool views in backendpool.v1."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backendpool.api.endpoints import Endpoint, EndpointSet, EndpointState
from backendpool.api.load_balancing import (
    EmptyPolicy,
    FailurePercentage,
    LoadBalancing,
    OutlierDetection,
    Policy,
    Preference,
    SuccessRate,
)
from backendpool.api.pool import PoolView
from backendpool.api.protobuf import message_of, view_of
from backendpool.errors import SpecError
from backendpool.proto.v1 import endpoints_pb2 as v1

PERCENT, MANY = st.integers(1, 100), st.integers(1, 10_000)
WORDS = st.text("abc-.", max_size=5)
OUTLIERS = st.builds(
    OutlierDetection,
    interval=MANY,
    base_ejection=MANY,
    max_ejection=MANY,
    max_ejection_percent=st.integers(0, 100),
    success_rate=st.none() | st.builds(SuccessRate, MANY, PERCENT, MANY, MANY),
    failure_percentage=st.none() | st.builds(FailurePercentage, PERCENT, PERCENT, MANY, MANY),
)
BALANCINGS = st.builds(
    LoadBalancing,
    policy=st.sampled_from([policy for policy in Policy if policy is not Policy.CONSISTENT_HASH]),
    empty_policy=st.sampled_from(EmptyPolicy),
    outliers=st.none() | OUTLIERS,
    prefer=st.none() | st.sampled_from(Preference),
) | st.builds(LoadBalancing, policy=st.just(Policy.CONSISTENT_HASH), hash_header=st.text("abc", min_size=1))
ENDPOINTS = st.builds(
    Endpoint,
    address=st.ip_addresses().map(str),
    port=st.integers(1, 65535),
    pod_uid=WORDS,
    pod_name=WORDS,
    node_name=WORDS,
    zone=WORDS,
    state=st.sampled_from(EndpointState),
)


@given(st.builds(PoolView, st.lists(ENDPOINTS).map(EndpointSet.of), BALANCINGS))
def test_view_comes_back_as_it_was(view: PoolView) -> None:
    """A view survives encoding and decoding."""
    assert view_of(v1.EndpointSet.FromString(message_of(view).SerializeToString())) == view


def test_endpoint_in_a_newer_state_gets_no_calls() -> None:
    """An endpoint in an unknown state is neither Ready nor Draining."""
    message = v1.EndpointSet(
        revision="r",
        endpoints=[_endpoint("10.0.0.1", 9), _endpoint("10.0.0.2", v1.Endpoint.READY)],
        balancing=v1.Balancing(policy="RoundRobin", empty_policy="Fail"),
    )
    assert [endpoint.address for endpoint in view_of(message).endpoints.endpoints] == ["10.0.0.2"]


def _endpoint(address: str, state: int) -> v1.Endpoint:
    return v1.Endpoint(address=address, port=1, state=cast("v1.Endpoint.State.ValueType", state))


def test_newer_policy_is_a_spec_error() -> None:
    """An unknown policy raises a SpecError that names the field."""
    message = v1.EndpointSet(balancing=v1.Balancing(policy="Newer", empty_policy="Fail"))
    with pytest.raises(SpecError, match=r"spec\.policy: this version knows RoundRobin"):
        view_of(message)

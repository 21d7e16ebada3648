"""Pools in files."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from backendpool.api.endpoints import Endpoint, EndpointSet, EndpointState
from backendpool.api.load_balancing import EmptyPolicy, LoadBalancing, OutlierDetection, Policy, Preference, SuccessRate
from backendpool.api.pool import PoolView
from backendpool.client._resolvers.document import parse_view

WORDS = st.text("abc-", max_size=5)
ENDPOINTS = st.builds(
    Endpoint,
    address=st.ip_addresses().map(str),
    port=st.integers(1, 65535),
    pod_name=WORDS,
    zone=WORDS,
    state=st.sampled_from(EndpointState),
    weight=st.integers(0, 10_000),
)


@given(st.lists(ENDPOINTS))
def test_each_endpoint_can_be_written(endpoints: list[Endpoint]) -> None:
    """Every field of an endpoint that a file may set is read."""
    written = [
        {"address": e.address, "port": e.port, "pod": e.pod_name, "zone": e.zone, "state": e.state, "weight": e.weight}
        for e in endpoints
    ]
    assert parse_view({"endpoints": written}) == PoolView(EndpointSet.of(endpoints))


@given(st.lists(ENDPOINTS))
def test_address_and_port_are_enough(endpoints: list[Endpoint]) -> None:
    """An endpoint needs only address and port, as one text or two fields, and is Ready by default."""
    plain = PoolView(EndpointSet.of(Endpoint(e.address, e.port) for e in endpoints))
    assert parse_view({"endpoints": [e.target for e in endpoints]}) == plain
    assert parse_view({"endpoints": [{"address": e.address, "port": e.port} for e in endpoints]}) == plain


def test_balancing_is_in_the_words_of_the_spec() -> None:
    """Load balancing uses the fields of a GrpcBackendPool."""
    document = {
        "endpoints": [],
        "policy": "ConsistentHash",
        "emptyPolicy": "KeepLast",
        "consistentHash": {"header": "user"},
        "outlierDetection": {"intervalSeconds": 3, "successRate": {}},
        "locality": {"prefer": "Zone"},
    }
    outliers = OutlierDetection(interval=3, success_rate=SuccessRate())
    balancing = LoadBalancing(Policy.CONSISTENT_HASH, EmptyPolicy.KEEP_LAST, "user", outliers, Preference.ZONE)
    assert parse_view(document) == PoolView(EndpointSet.of(()), balancing)
    assert len(dataclasses.fields(balancing)) == len(document) - 1, "and nothing else can be asked for"

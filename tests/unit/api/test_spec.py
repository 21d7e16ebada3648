"""The typed spec, and its agreement with the CRD."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from backendpool.api import constants, spec
from backendpool.api.load_balancing import (
    EmptyPolicy,
    FailurePercentage,
    LoadBalancing,
    OutlierDetection,
    Policy,
    Preference,
    SuccessRate,
)
from backendpool.api.spec import LookasideSpec, PoolSpec, parse_spec
from backendpool.errors import SpecError
from tests.fakes.crd import CRD_FILE, crd_schema
from tests.fakes.objects import SELECTOR

LEAST = {"selector": SELECTOR, "port": 50051}
KNOWN = "RoundRobin, Random, LeastRequest, WeightedRoundRobin, ConsistentHash"


def test_least_spec_gets_the_defaults() -> None:
    """Only selector and port are required."""
    parsed = parse_spec(LEAST)
    assert parsed == PoolSpec(selector=SELECTOR, port=50051)
    assert parsed.balancing == LoadBalancing(Policy.ROUND_ROBIN, EmptyPolicy.FAIL)
    assert parsed.lookaside == LookasideSpec(replicas=2, port=50055, resources=spec.default_resources())
    assert parsed.readers == ()


def test_every_field_is_read() -> None:
    """Every field of the spec is parsed."""
    parsed = parse_spec(
        {
            "selector": {"a": "b"},
            "port": "grpc",
            "policy": "ConsistentHash",
            "consistentHash": {"header": "x-user"},
            "emptyPolicy": "KeepLast",
            "outlierDetection": {
                "intervalSeconds": 1,
                "baseEjectionSeconds": 2,
                "maxEjectionSeconds": 3,
                "maxEjectionPercent": 4,
                "successRate": {"stdevFactor": 5, "enforcementPercent": 6, "minimumHosts": 7, "requestVolume": 8},
                "failurePercentage": {
                    "threshold": 9,
                    "enforcementPercent": 10,
                    "minimumHosts": 11,
                    "requestVolume": 12,
                },
            },
            "locality": {"prefer": "Zone"},
            "lookaside": {"replicas": 0, "port": 6000, "resources": {}, "tls": {"secretName": "greet-tls"}},
            "readers": [{"serviceAccount": "one"}, {"serviceAccount": "two"}],
        }
    )
    assert parsed == PoolSpec(
        selector={"a": "b"},
        port="grpc",
        balancing=LoadBalancing(
            policy=Policy.CONSISTENT_HASH,
            empty_policy=EmptyPolicy.KEEP_LAST,
            hash_header="x-user",
            outliers=OutlierDetection(1, 2, 3, 4, SuccessRate(5, 6, 7, 8), FailurePercentage(9, 10, 11, 12)),
            prefer=Preference.ZONE,
        ),
        lookaside=LookasideSpec(replicas=0, port=6000, resources={}, tls_secret="greet-tls"),
        readers=("one", "two"),
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"selector": None}, "spec.selector: name at least one pod label"),
        ({"selector": {}}, "spec.selector: name at least one pod label"),
        ({"selector": {"run": 1}}, "spec.selector: name at least one pod label and its value"),
        ({"selector": "run=x"}, "spec.selector: give a map of fields, not 'run=x'"),
        ({"port": None}, "spec.port: give the number or the name"),
        ({"port": 0}, "spec.port: give the number or the name"),
        ({"port": 65536}, "spec.port: give the number or the name"),
        ({"port": True}, "spec.port: give the number or the name"),
        ({"port": ""}, "spec.port: give the number or the name"),
        ({"policy": "Newer"}, f"spec.policy: this version knows {KNOWN}, not 'Newer'"),
        ({"policy": None}, f"spec.policy: this version knows {KNOWN}, not None"),
        ({"emptyPolicy": "Wait"}, "spec.emptyPolicy: this version knows Fail, KeepLast, not 'Wait'"),
        ({"policy": "ConsistentHash"}, "spec.consistentHash.header: name the metadata key"),
        ({"policy": "ConsistentHash", "consistentHash": {"header": 1}}, "spec.consistentHash.header: name the"),
        ({"outlierDetection": []}, r"spec.outlierDetection: give a map of fields, not \[\]"),
        ({"outlierDetection": {"maxEjectionPercent": 101}}, "spec.outlierDetection.maxEjectionPercent: give a whole"),
        ({"outlierDetection": {"successRate": 1}}, "spec.outlierDetection.successRate: give a map of fields, not 1"),
        (
            {"outlierDetection": {"failurePercentage": {"threshold": 0}}},
            "spec.outlierDetection.failurePercentage.threshold: give a whole number from 1 to 100, not 0",
        ),
        ({"locality": {"prefer": "Node"}}, "spec.locality.prefer: this version knows Zone, not 'Node'"),
        ({"lookaside": 3}, "spec.lookaside: give a map of fields, not 3"),
        ({"lookaside": {"replicas": -1}}, "spec.lookaside.replicas: give a whole number from 0 to 100, not -1"),
        ({"lookaside": {"replicas": True}}, "spec.lookaside.replicas: give a whole number"),
        ({"lookaside": {"port": "grpc"}}, "spec.lookaside.port: give a whole number from 1 to 65535"),
        ({"lookaside": {"resources": []}}, r"spec.lookaside.resources: give a map of fields, not \[\]"),
        ({"lookaside": {"tls": {}}}, "spec.lookaside.tls.secretName: name the Secret"),
        ({"lookaside": {"tls": "greet-tls"}}, "spec.lookaside.tls: give a map of fields, not 'greet-tls'"),
        ({"readers": "gateway"}, "spec.readers: give a list of {serviceAccount: <name>}"),
        ({"readers": [{}]}, "spec.readers: give each reader the serviceAccount"),
        ({"readers": ["gateway"]}, "spec.readers: give a map of fields, not 'gateway'"),
    ],
)
def test_spec_that_cannot_be_acted_on_names_its_field(change: dict[str, Any], message: str) -> None:
    """An invalid value raises an error that names the field and what to do."""
    with pytest.raises(SpecError, match=message):
        parse_spec({**LEAST, **change})


def test_spec_that_is_no_map_is_refused() -> None:
    """A spec that is no map raises a SpecError."""
    with pytest.raises(SpecError, match="spec: give a map of fields"):
        parse_spec("pool")


def test_defaults_are_those_of_the_crd() -> None:
    """The parser and the CRD have the same defaults."""
    assert parse_spec({**LEAST, **_defaults(crd_schema()["spec"])}) == parse_spec(LEAST)


def test_defaults_of_outlier_detection_are_those_of_the_crd() -> None:
    """The parser and the CRD have the same defaults for outlier detection."""
    outliers = crd_schema()["spec"]["properties"]["outlierDetection"]
    least: dict[str, Any] = {"successRate": {}, "failurePercentage": {}}
    filled = _defaults(outliers) | {name: _defaults(outliers["properties"][name]) for name in least}
    assert parse_spec({**LEAST, "outlierDetection": filled}) == parse_spec({**LEAST, "outlierDetection": least})


def test_choices_are_those_of_the_crd() -> None:
    """The parser and the CRD accept the same enum values."""
    fields = crd_schema()["spec"]["properties"]
    assert fields["policy"]["enum"] == list(Policy)
    assert fields["emptyPolicy"]["enum"] == list(EmptyPolicy)
    assert fields["locality"]["properties"]["prefer"]["enum"] == list(Preference)


def test_limits_are_those_of_the_crd() -> None:
    """The parser and the CRD have the same limits."""
    properties = crd_schema()
    rules = CRD_FILE.read_text()
    assert f"self >= 0 && self <= {spec.MAX_REPLICAS}\n" in rules
    assert f"self >= 1024 && self <= {spec.MAX_PORT}\n" in rules
    assert f"self != {constants.METRICS_PORT}\n" in rules
    assert properties["status"]["properties"]["endpoints"]["maxItems"] == constants.MAX_STATUS_ENDPOINTS


def test_every_field_of_the_crd_is_described() -> None:
    """Every field of the CRD has a description."""
    own = {name: schema for name, schema in crd_schema().items() if name in ("spec", "status")}
    described = {path: schema.get("description", "") for path, schema in _fields("", own)}
    assert {".spec.lookaside.replicas", ".status.endpoints.podUID"} <= described.keys()
    assert [path for path, text in described.items() if not re.fullmatch(r"[A-Z].*[.]", text, re.DOTALL)] == []


def _fields(path: str, properties: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, schema in properties.items():
        yield f"{path}.{name}", schema
        yield from _fields(f"{path}.{name}", schema.get("items", schema).get("properties", {}))


def _defaults(schema: dict[str, Any]) -> dict[str, Any]:
    """Fill in defaults like the API server: first of a field, then of the fields in it."""
    filled = {}
    for name, field in schema["properties"].items():
        if "default" in field:
            default = field["default"]
            inner = _defaults(field) if default == {} and "properties" in field else {}
            filled[name] = inner or default
    return filled

"""The typed spec, and its agreement with the CRD."""

from __future__ import annotations

from typing import Any

import pytest

from backendpool import names, spec
from backendpool.errors import SpecError
from backendpool.spec import EmptyPolicy, LookasideSpec, Policy, PoolSpec, parse_spec
from tests.unit.pools import CRD_FILE, SELECTOR, crd_schema

LEAST = {"selector": SELECTOR, "port": 50051}


def test_least_spec_gets_the_defaults() -> None:
    """A selector and a port are enough."""
    parsed = parse_spec(LEAST)
    assert parsed == PoolSpec(selector=SELECTOR, port=50051)
    assert (parsed.policy, parsed.empty_policy) == (Policy.ROUND_ROBIN, EmptyPolicy.FAIL)
    assert parsed.lookaside == LookasideSpec(replicas=2, port=50055, resources=spec.default_resources())
    assert parsed.readers == ()


def test_every_field_is_read() -> None:
    """Nothing that an author writes is lost."""
    parsed = parse_spec(
        {
            "selector": {"a": "b"},
            "port": "grpc",
            "policy": "Random",
            "emptyPolicy": "KeepLast",
            "lookaside": {"replicas": 0, "port": 6000, "resources": {}},
            "readers": [{"serviceAccount": "one"}, {"serviceAccount": "two"}],
        }
    )
    assert parsed == PoolSpec(
        selector={"a": "b"},
        port="grpc",
        policy=Policy.RANDOM,
        empty_policy=EmptyPolicy.KEEP_LAST,
        lookaside=LookasideSpec(replicas=0, port=6000, resources={}),
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
        ({"policy": "LeastRequest"}, "spec.policy: this version knows RoundRobin, Random, not 'LeastRequest'"),
        ({"policy": None}, "spec.policy: this version knows RoundRobin, Random, not None"),
        ({"emptyPolicy": "Wait"}, "spec.emptyPolicy: this version knows Fail, KeepLast, not 'Wait'"),
        ({"lookaside": 3}, "spec.lookaside: give a map of fields, not 3"),
        ({"lookaside": {"replicas": -1}}, "spec.lookaside.replicas: give a whole number from 0 to 100, not -1"),
        ({"lookaside": {"replicas": True}}, "spec.lookaside.replicas: give a whole number"),
        ({"lookaside": {"port": "grpc"}}, "spec.lookaside.port: give a whole number from 1 to 65535"),
        ({"lookaside": {"resources": []}}, r"spec.lookaside.resources: give a map of fields, not \[\]"),
        ({"readers": "gateway"}, "spec.readers: give a list of {serviceAccount: <name>}"),
        ({"readers": [{}]}, "spec.readers: give each reader the serviceAccount"),
        ({"readers": ["gateway"]}, "spec.readers: give a map of fields, not 'gateway'"),
    ],
)
def test_spec_that_cannot_be_acted_on_names_its_field(change: dict[str, Any], message: str) -> None:
    """Whatever got past another version's schema is refused with the field and what to do."""
    with pytest.raises(SpecError, match=message):
        parse_spec({**LEAST, **change})


def test_spec_that_is_no_map_is_refused() -> None:
    """Garbage is an error of ours, not a traceback."""
    with pytest.raises(SpecError, match="spec: give a map of fields"):
        parse_spec("pool")


def test_defaults_are_those_of_the_crd() -> None:
    """A pool means the same with the schema's defaults filled in and without."""
    assert parse_spec({**LEAST, **_defaults(crd_schema()["spec"])}) == parse_spec(LEAST)


def test_choices_are_those_of_the_crd() -> None:
    """The schema lets through what this version knows, no more and no less."""
    fields = crd_schema()["spec"]["properties"]
    assert fields["policy"]["enum"] == list(Policy)
    assert fields["emptyPolicy"]["enum"] == list(EmptyPolicy)


def test_limits_are_those_of_the_crd() -> None:
    """What the schema allows is what the program can do."""
    properties = crd_schema()
    lookaside = properties["spec"]["properties"]["lookaside"]["properties"]
    assert lookaside["replicas"]["maximum"] == spec.MAX_REPLICAS
    assert properties["status"]["properties"]["endpoints"]["maxItems"] == names.MAX_STATUS_ENDPOINTS
    text = CRD_FILE.read_text()
    assert f"self.metadata.name.size() <= {names.MAX_POOL_NAME} " in text
    assert f"self != {names.METRICS_PORT}\n" in text


def _defaults(schema: dict[str, Any]) -> dict[str, Any]:
    """As the API server fills them in: a field's default, and then those of the fields inside it."""
    filled = {}
    for name, field in schema["properties"].items():
        if "default" in field:
            default = field["default"]
            inner = _defaults(field) if default == {} and "properties" in field else {}
            filled[name] = inner or default
    return filled

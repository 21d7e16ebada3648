"""Validation of pools by the API server, and its error messages.

The CRD's schema and CEL rules validate without a webhook and without the operator, so the tests run against a real API
server.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from subprocess import CompletedProcess
from typing import Any, TypeAlias

import pytest

from tools.cluster.deploy import REPOSITORY
from tools.cluster.kubectl import Kubectl

Submit: TypeAlias = Callable[..., CompletedProcess[str]]

GOOD: Mapping[str, Any] = {"selector": {"run": "greetserver"}, "port": 50051}

BAD_PORT_NAME = "give a port number without quotes, or a port name: at most 15 lowercase letters"
BAD_LABEL_KEY = "correct the label key: at most 63 letters, digits"
BAD_LABEL_VALUE = "correct the label value: at most 63 letters, digits"
BAD_ACCOUNT = "give the name of a service account in the pool's namespace"
BAD_AMOUNT = "give an amount such as 100m of cpu, or 128Mi of memory, at most 1P"
BAD_POOL_NAME = "a pool names its Services: use at most 53 lowercase letters, digits and '-' for metadata.name"

BAD_SPECS = {
    "empty spec: selector": ({}, "spec.selector: Required value: name at least one label that the backend pods carry"),
    "empty spec: port": ({}, "spec.port: Required value: give the number or the name of the container port"),
    "no selector": ({"port": 1}, "spec.selector: Required value: name at least one label"),
    "empty selector": ({**GOOD, "selector": {}}, "spec.selector: Invalid value: name at least one label"),
    "selector of expressions": (
        {**GOOD, "selector": {"matchLabels": {"run": "x"}}},
        'unknown field "spec.selector.matchLabels.run"',
    ),
    "too many labels": (
        {**GOOD, "selector": {f"label-{n}": "x" for n in range(17)}},
        "spec.selector: Invalid value: select by fewer labels: 16 are enough",
    ),
    "label key with a space": ({**GOOD, "selector": {"my run": "x"}}, BAD_LABEL_KEY),
    "label key that ends in a dash": ({**GOOD, "selector": {"run-": "x"}}, BAD_LABEL_KEY),
    "label key with two slashes": ({**GOOD, "selector": {"a/b/c": "x"}}, BAD_LABEL_KEY),
    "label key too long": ({**GOOD, "selector": {"k" * 64: "x"}}, BAD_LABEL_KEY),
    "label key with a long prefix": (
        {**GOOD, "selector": {f"{'a' * 254}/run": "x"}},
        "spec.selector: Invalid value: shorten the label key",
    ),
    "label value with a space": ({**GOOD, "selector": {"run": "greet server"}}, BAD_LABEL_VALUE),
    "label value that starts with a dash": ({**GOOD, "selector": {"run": "-x"}}, BAD_LABEL_VALUE),
    "label value too long": ({**GOOD, "selector": {"run": "v" * 64}}, BAD_LABEL_VALUE),
    "label of the operator": (
        {**GOOD, "selector": {"backendpool.io/pool": "x"}},
        "select by another label, for those in backendpool.io/ are the operator's own",
    ),
    "no port": ({"selector": {"run": "x"}}, "spec.port: Required value: give the number or the name"),
    "port 0": ({**GOOD, "port": 0}, "spec.port: Invalid value: 0: give a port number from 1 to 65535"),
    "port below zero": ({**GOOD, "port": -1}, "give a port number from 1 to 65535"),
    "port 70000": ({**GOOD, "port": 70000}, "spec.port: Invalid value: 70000: give a port number from 1 to 65535"),
    "port number in quotes": ({**GOOD, "port": "50051"}, BAD_PORT_NAME),
    "port name in capitals": ({**GOOD, "port": "GRPC"}, BAD_PORT_NAME),
    "port name too long": ({**GOOD, "port": "a-port-of-16-chr"}, BAD_PORT_NAME),
    "port name with two dashes": ({**GOOD, "port": "grpc--web"}, BAD_PORT_NAME),
    "port name that is empty": ({**GOOD, "port": ""}, BAD_PORT_NAME),
    "unknown policy": (
        {**GOOD, "policy": "LeastRequests"},
        'spec.policy: Unsupported value: "LeastRequests": supported values: "RoundRobin", "Random"',
    ),
    "policy in lower case": ({**GOOD, "policy": "random"}, 'supported values: "RoundRobin", "Random"'),
    "unknown emptyPolicy": ({**GOOD, "emptyPolicy": "Wait"}, 'supported values: "Fail", "KeepLast"'),
    "replicas -1": (
        {**GOOD, "lookaside": {"replicas": -1}},
        "spec.lookaside.replicas: Invalid value: -1: give from 0 to 100 lookaside servers",
    ),
    "replicas 101": (
        {**GOOD, "lookaside": {"replicas": 101}},
        "spec.lookaside.replicas: Invalid value: 101: give from 0 to 100 lookaside servers",
    ),
    "lookaside port that needs privileges": (
        {**GOOD, "lookaside": {"port": 443}},
        "spec.lookaside.port: Invalid value: 443: give a port from 1024 to 65535",
    ),
    "lookaside port too high": (
        {**GOOD, "lookaside": {"port": 65536}},
        "spec.lookaside.port: Invalid value: 65536: give a port from 1024 to 65535",
    ),
    "lookaside port of the metrics": (
        {**GOOD, "lookaside": {"port": 9090}},
        "choose another port, for 9090 serves the lookaside's metrics",
    ),
    "no amount": ({**GOOD, "lookaside": {"resources": {"limits": {"memory": "lots"}}}}, BAD_AMOUNT),
    "amount below zero": ({**GOOD, "lookaside": {"resources": {"limits": {"cpu": "-1"}}}}, BAD_AMOUNT),
    "amount above all nodes": ({**GOOD, "lookaside": {"resources": {"limits": {"cpu": "1001T"}}}}, BAD_AMOUNT),
    "amount of an endless number": (
        {**GOOD, "lookaside": {"resources": {"limits": {"cpu": "1e2000000000"}}}},
        BAD_AMOUNT,
    ),
    "amount of endless decimals": (
        {**GOOD, "lookaside": {"resources": {"limits": {"cpu": "1e-2000000000"}}}},
        BAD_AMOUNT,
    ),
    "request of an endless number, and its limit": (
        {**GOOD, "lookaside": {"resources": {"requests": {"cpu": "1e2000000000"}, "limits": {"cpu": "1"}}}},
        BAD_AMOUNT,
    ),
    "unknown resource": (
        {**GOOD, "lookaside": {"resources": {"requests": {"mem": "1Mi"}}}},
        "give amounts of cpu, memory and ephemeral-storage only",
    ),
    "request above its limit": (
        {**GOOD, "lookaside": {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}}},
        "a request is above its limit, so raise the limit or lower the request",
    ),
    "reader without an account": (
        {**GOOD, "readers": [{}]},
        f"spec.readers[0].serviceAccount: Required value: {BAD_ACCOUNT}",
    ),
    "reader with a long name": ({**GOOD, "readers": [{"serviceAccount": "a" * 254}]}, BAD_ACCOUNT),
    "reader with a bad name": ({**GOOD, "readers": [{"serviceAccount": "Gateway"}]}, BAD_ACCOUNT),
    "reader of another namespace": ({**GOOD, "readers": [{"serviceAccount": "web/gateway"}]}, BAD_ACCOUNT),
    "too many readers": (
        {**GOOD, "readers": [{"serviceAccount": f"a-{n}"} for n in range(65)]},
        "spec.readers: Invalid value: name at most 64 readers",
    ),
    "unknown field": ({**GOOD, "polcy": "Random"}, 'unknown field "spec.polcy"'),
    "image of the lookaside": (
        {**GOOD, "lookaside": {"image": "registry.example.com/mine"}},
        'unknown field "spec.lookaside.image"',
    ),
    "unknown field of the lookaside": (
        {**GOOD, "lookaside": {"replica": 3}},
        'unknown field "spec.lookaside.replica"',
    ),
}

IN_THE_API_SERVERS_WORDS = {
    "label value of a number": ({**GOOD, "selector": {"run": 7}}, 'must be of type string: "integer"'),
    "port with a fraction": ({**GOOD, "port": 50051.5}, "spec.port in body must be of type integer,string"),
    "replicas in words": (
        {**GOOD, "lookaside": {"replicas": "two"}},
        'spec.lookaside.replicas in body must be of type integer: "string"',
    ),
    "reader named twice": (
        {**GOOD, "readers": [{"serviceAccount": "gateway"}, {"serviceAccount": "gateway"}]},
        'spec.readers[1]: Duplicate value: {"serviceAccount":"gateway"}',
    ),
    "far too many labels": ({**GOOD, "selector": {f"label-{n}": "x" for n in range(65)}}, "must have at most 64 items"),
    "far too long a label value": ({**GOOD, "selector": {"run": "v" * 254}}, "may not be more than 253 bytes"),
    "far too many readers": (
        {**GOOD, "readers": [{"serviceAccount": f"a-{n}"} for n in range(129)]},
        "must have at most 128 items",
    ),
    "far too long a port": ({**GOOD, "port": "p" * 254}, "may not be more than 253 bytes"),
}

BAD_NAMES = {
    "too long for its children": ("p" * 54, BAD_POOL_NAME),
    "starts with a digit": ("2nd-pool", BAD_POOL_NAME),
    "has a dot": ("greet.server", BAD_POOL_NAME),
    "has a capital": ("Greetserver", "must consist of lower case alphanumeric characters"),
}

GOOD_SPECS = {
    "port by name": {**GOOD, "port": "grpc"},
    "port by a name with a digit first": {**GOOD, "port": "2grpc"},
    "prefixed label": {**GOOD, "selector": {"app.kubernetes.io/name": "greet", "tier_1": ""}},
    "no lookaside": {**GOOD, "lookaside": {"replicas": 0}},
    "everything": {
        "selector": {"run": "greetserver", "v": "1.2_x"},
        "port": 65535,
        "policy": "Random",
        "emptyPolicy": "KeepLast",
        "lookaside": {
            "replicas": 100,
            "port": 1024,
            "resources": {"requests": {"cpu": 1, "memory": "0.5Gi"}, "limits": {"cpu": "1000m", "memory": "512Mi"}},
        },
        "readers": [{"serviceAccount": "greet-gateway"}, {"serviceAccount": "web.gateway"}],
    },
}


@pytest.fixture(scope="module", autouse=True)
def crd(kubectl: Kubectl) -> None:
    """Apply the CRD of this checkout and wait until it is established."""
    kubectl("apply", "--server-side", "--force-conflicts", f"--kustomize={REPOSITORY / 'crds'}")
    kubectl("wait", "--for=condition=Established", "--timeout=180s", "crd/grpcbackendpools.backendpool.io")


@pytest.fixture
def submit(kubectl: Kubectl) -> Submit:
    """A function that creates a pool in a server-side dry run, which validates but stores nothing."""

    def submit(spec: Mapping[str, Any] | None, name: str = "test-admission") -> CompletedProcess[str]:
        flags = ("--namespace=default", "--dry-run=server", "--validate=strict", "--output=json")
        return kubectl("create", *flags, "--filename=-", input=json.dumps(_pool(name, spec)), check=False)

    return submit


@pytest.mark.parametrize(("spec", "sentence"), BAD_SPECS.values(), ids=BAD_SPECS)
def test_bad_spec_is_refused(submit: Submit, spec: Mapping[str, Any], sentence: str) -> None:
    """An invalid spec is rejected with a message that says what to do."""
    refused = submit(spec)
    assert refused.returncode != 0
    assert sentence in refused.stderr


@pytest.mark.parametrize(("spec", "words"), IN_THE_API_SERVERS_WORDS.values(), ids=IN_THE_API_SERVERS_WORDS)
def test_bad_type_is_refused_in_the_api_servers_words(submit: Submit, spec: Mapping[str, Any], words: str) -> None:
    """Wrong types, duplicate items and excessive sizes get the API server's own messages, before any CEL rule runs."""
    refused = submit(spec)
    assert refused.returncode != 0
    assert words in refused.stderr


def test_missing_spec_is_refused(submit: Submit) -> None:
    """The error for a pool without a spec names the required fields."""
    assert "spec: Required value: say which pods are the backends: give selector and port" in submit(None).stderr


@pytest.mark.parametrize(("name", "sentence"), BAD_NAMES.values(), ids=BAD_NAMES)
def test_bad_name_is_refused(submit: Submit, name: str, sentence: str) -> None:
    """A pool name that would be invalid as the name of a Service is rejected."""
    assert sentence in submit(GOOD, name).stderr


@pytest.mark.parametrize("spec", GOOD_SPECS.values(), ids=GOOD_SPECS)
def test_good_spec_is_taken(submit: Submit, spec: Mapping[str, Any]) -> None:
    """A valid spec is accepted and stored unchanged."""
    taken = submit(spec)
    assert taken.returncode == 0, taken.stderr
    assert _is_within(spec, json.loads(taken.stdout)["spec"])


def test_longest_name_is_taken(submit: Submit) -> None:
    """The longest allowed pool name, of 53 characters, is accepted."""
    taken = submit(GOOD, "p" * 53)
    assert taken.returncode == 0, taken.stderr


def test_defaults_are_filled_in(submit: Submit) -> None:
    """The API server fills in the defaults of all optional fields."""
    assert json.loads(submit(GOOD).stdout)["spec"] == {
        **GOOD,
        "policy": "RoundRobin",
        "emptyPolicy": "Fail",
        "lookaside": {
            "replicas": 2,
            "port": 50055,
            "resources": {"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"memory": "256Mi"}},
        },
    }


def test_resources_can_be_left_to_the_cluster(submit: Submit) -> None:
    """An empty ``resources`` means no requests and no limits, not the defaults."""
    spec = json.loads(submit({**GOOD, "lookaside": {"resources": {}}}).stdout)["spec"]
    assert spec["lookaside"]["resources"] == {}


def test_explain_reads_well(kubectl: Kubectl) -> None:
    """``kubectl explain`` describes every field, with its choices and whether it is required."""
    spec = kubectl("explain", "gbp.spec").stdout
    assert "enum: RoundRobin, Random" in spec
    assert spec.count("Required.") == 2
    known = kubectl.json("get", "crd", "grpcbackendpools.backendpool.io")["spec"]["versions"][0]["schema"]
    paths = list(_objects("gbp", known["openAPIV3Schema"]["properties"]))
    assert "gbp.status.conditions" in paths
    for path in paths:
        assert "<no description>" not in kubectl("explain", path).stdout, path


def _objects(path: str, properties: Mapping[str, Any]) -> Iterator[str]:
    """Yield the paths of all objects in the schema, as ``kubectl explain`` takes them."""
    for name, schema in properties.items():
        fields = schema.get("items", schema).get("properties")
        if fields:
            yield f"{path}.{name}"
            yield from _objects(f"{path}.{name}", fields)


def test_pool_is_listed_by_short_name_and_category(kubectl: Kubectl, namespace: str) -> None:
    """kubectl lists pools by the short name ``gbp`` and the category ``grpc``, with the policy in a column."""
    pool = _pool("listed", {**GOOD, "policy": "Random", "lookaside": {"replicas": 0}})
    kubectl("create", f"--namespace={namespace}", "--filename=-", input=json.dumps(pool))
    header, line = kubectl("get", "gbp", "-n", namespace).stdout.splitlines()
    assert header.split() == ["NAME", "READY", "ENDPOINTS", "DRAINING", "POLICY", "AGE"]
    assert line.split()[0] == "listed"
    assert "Random" in line.split()
    wide = kubectl("get", "grpc", "-n", namespace, "-o", "wide").stdout.splitlines()[0]
    assert wide.split() == [*header.split(), "SERVICE", "LOOKASIDE", "REVISION", "REASON"]


def _pool(name: str, spec: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "apiVersion": "backendpool.io/v1alpha1",
        "kind": "GrpcBackendPool",
        "metadata": {"name": name},
        **({} if spec is None else {"spec": spec}),
    }


def _is_within(wanted: Any, there: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(there, dict) and all(_is_within(value, there.get(key)) for key, value in wanted.items())
    return bool(wanted == there)

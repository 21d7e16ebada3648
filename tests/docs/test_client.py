"""docs/client.md: its programs run, and its tables equal the signatures and dataclasses of the code."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import json
import os
import re
import signal
import sys
import tomllib
from collections import Counter
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from grpc import StatusCode

import backendpool.client
from backendpool.api.constants import LOOKASIDE_PORT, MAX_STATUS_ENDPOINTS
from backendpool.client import (
    CHANNEL_OPTIONS,
    BackendPoolError,
    BackendStatus,
    Connection,
    EmptyPolicy,
    Endpoint,
    EndpointState,
    FailurePercentage,
    LoadBalancing,
    OutlierDetection,
    Policy,
    PoolChannel,
    Preference,
    SlowStart,
    Status,
    TargetError,
    connect,
)
from backendpool.client._balancer import _UNTIL_DONE
from backendpool.client._options import Options
from backendpool.client._policies.load_report import TRAILER
from backendpool.client._policies.locality import OVERPROVISIONING
from backendpool.client._policies.outliers import PANIC_PERCENT, Stats, sweep
from backendpool.client._policies.penalty import HALF_LIFE
from backendpool.client._resolvers.document import parse_view
from backendpool.client._resolvers.lookaside import LookasideTiming
from backendpool.client._retry import IDEMPOTENT, RetryThrottle
from backendpool.client._service_config import MAX_ATTEMPTS
from backendpool.client._stall_timer import stall_timeout
from backendpool.client._subchannel import AT_ONCE, connect_stagger
from backendpool.client._target import FileTarget, LookasideTarget, PoolTarget, parse_target
from backendpool.testing import FakePool
from greet.greet_pb2 import GreetingRequest, GreetingResponse
from greet.greet_pb2_grpc import GreetServiceServicer, GreetServiceStub, add_GreetServiceServicer_to_server
from tests.docs.markdown import CLIENT, REPOSITORY, block, commands, section, table
from tests.unit.greet.servers import free_port, greet_servers

HOSTS = ("127.0.0.1", "127.0.0.2")

EVENTS_SHOWN_BY = {
    "the pool is not known yet, or no backend has been tried yet": (
        "client/test_channel.py",
        "test_waits_while_the_pool_is_unknown",
    ),
    "no cluster is configured": ("client/test_connect.py", "test_no_cluster_fails_calls_and_says_why"),
    "a pod becomes ready": ("client/test_balancer.py", "test_new_backend_takes_calls_once_connected"),
    "a pod terminates": ("client/test_balancer.py", "test_draining_backend_gets_no_new_calls"),
    "a pod leaves the list": ("client/test_draining.py", "test_call_cut_by_the_end_of_the_grace_is_unavailable"),
    "a pod is killed": ("client/test_connect.py", "test_killed_backend_costs_no_idempotent_call"),
    "a connection is lost before a call was sent": (
        "client/test_pool_call.py",
        "test_transparent_retry_goes_to_another_backend",
    ),
    "a server closes an old connection (GOAWAY)": ("client/test_connect.py", "test_old_connections_cost_no_call"),
    "a backend does not respond (node frozen or partitioned)": (
        "client/test_stall.py",
        "test_unresponsive_backend_is_reconnected_and_may_still_answer",
    ),
    "a node is partitioned, and data is unacknowledged for 5 s": ("../e2e/faults/test_nodes.py", "test_node_is_lost"),
    "a backend refuses connections": ("client/test_balancer.py", "test_backend_that_cannot_be_connected_to_is_skipped"),
    "all backends refuse connections": (
        "client/test_balancer.py",
        "test_fails_at_once_when_no_backend_can_be_connected_to",
    ),
    "one backend fails calls fast": (
        "client/selection/test_ejection.py",
        "test_backend_that_fails_is_ejected_and_returns",
    ),
    "one backend is slow": ("client/selection/test_weights.py", "test_least_request_avoids_a_busy_backend"),
    "the deadline of a call is exceeded": ("client/test_stall.py", "test_deadline_exceeded_is_not_retried"),
    "the pool is empty, `emptyPolicy: Fail`": (
        "client/test_channel.py",
        "test_wait_for_ready_waits_for_the_first_endpoint",
    ),
    "the pool is empty, `emptyPolicy: KeepLast`": (
        "client/test_balancer.py",
        "test_keep_last_keeps_the_last_endpoints",
    ),
    "the pool is deleted": ("client/resolvers/test_pool.py", "test_tells_that_the_pool_is_gone"),
    "the API server is unreachable, or the permission to read the pool is revoked": (
        "client/resolvers/test_pool.py",
        "test_outage_changes_nothing",
    ),
    "the lookaside is unreachable": (
        "client/resolvers/test_lookaside.py",
        "test_keeps_what_was_told_while_the_lookaside_is_away",
    ),
    "the file is deleted or becomes invalid": ("client/resolvers/test_file.py", "test_last_good_list_is_kept"),
    "an iterator ends or raises an error": ("client/resolvers/test_iterator.py", "test_last_item_stands_at_the_end"),
    "the channel is closed": ("client/test_connect.py", "test_closed_channel_takes_no_calls_and_ends_its_source"),
}

TRACED_BY = {
    "Each attempt of a call then has one span": "test_span_per_attempt",
    "Errors and retries are the same as without an agent": "test_error_is_that_of_the_call",
    "For one span per call, however often it is retried, pass the interceptors to `connect`": "test_span_per_call",
    "With both, the spans of the attempts are children of the span of the call": "test_span_per_call_and_per_attempt",
}


def run(program: str, **names: Any) -> dict[str, Any]:
    """Run a program with the global ``names``, and return all of its globals."""
    names.setdefault("__name__", "example")
    exec(compile(program, CLIENT.name, "exec", flags=0, dont_inherit=True), names)
    return names


async def test_first_program_runs_as_pasted(tmp_path: Path) -> None:
    """All commands of "In a minute" work if pasted at once, while the servers still start."""
    text = section(CLIENT, "In a minute")
    setup, *lines = [command.line for command in commands(text)]
    assert setup == "make venv && source .venv/bin/activate"
    program = block(text, "python")
    assert "Save this program as `/tmp/first_calls.py`" in text
    (tmp_path / "first_calls.py").write_text(program.replace("/tmp/", f"{tmp_path}/"))
    script = "\n".join(lines).replace("/tmp/", f"{tmp_path}/")
    for port in ("50051", "50052"):
        assert script.count(port) == 2
        script = script.replace(port, str(free_port()))
    env = {**os.environ, "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))}
    with (tmp_path / "stderr").open("wb") as stderr:
        running = await asyncio.create_subprocess_exec(
            *("bash", "-c", script),
            cwd=REPOSITORY,
            env=env,
            start_new_session=True,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
        )
    assert running.stdout is not None
    try:
        async with asyncio.timeout(120):
            # Not the end of the output: the servers inherit the pipe, and drain after bash has exited.
            greetings = [(await running.stdout.readline()).decode() for _ in range(4)]
            code = await running.wait()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
    errors = (tmp_path / "stderr").read_text()
    assert code == 0, errors
    assert "Traceback" not in errors
    pattern = r"Hello, Ada Lovelace from pod: name\((one|two)\)"
    assert all(re.match(pattern, greeting) for greeting in greetings), greetings


async def test_first_program_greets_by_each_backend(tmp_path: Path) -> None:
    """Calls of the first program alternate between servers that are already up."""
    path = tmp_path / "greet.json"
    program = block(section(CLIENT, "In a minute"), "python").replace("/tmp/greet.json", str(path))
    async with greet_servers(*HOSTS) as port:
        path.write_text(json.dumps({"endpoints": [f"{host}:{port}" for host in HOSTS]}))
        out = await printed(program)
    greetings = Counter(re.findall(r"^Hello, Ada Lovelace from pod: name\((\S+)\)", out, re.MULTILINE))
    assert greetings.keys() == set(HOSTS)
    assert greetings.total() == 4


async def test_listing_is_what_the_command_prints(tmp_path: Path) -> None:
    """`backendpool endpoints` prints the output of the document, except for addresses and the age."""
    (command,) = commands(section(CLIENT, "Status and metrics"))
    path = tmp_path / "greet.json"
    program = "import sys; from backendpool.cli import main; sys.exit(main(sys.argv[1:]))"
    async with greet_servers(*HOSTS) as port:
        path.write_text(json.dumps({"endpoints": [f"{host}:{port}" for host in HOSTS]}))
        out = await printed(program, *command.line.replace("/tmp/greet.json", str(path)).split()[1:])
    assert re.sub(r"[\d.:]+", "N", out).split() == re.sub(r"[\d.:]+", "N", command.answer).split()


async def printed(program: str, *arguments: str) -> str:
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, *arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, errors = await running.communicate()
    assert errors.decode() == ""
    return out.decode()


def test_extras_and_packages_exist() -> None:
    """The table of extras equals pyproject.toml, and the environment of the tests has all packages to install."""
    text = section(CLIENT, "Install")
    pyproject = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    extras = {
        name: [re.split(r"[<>=]", package)[0] for package in packages]
        for name, packages in pyproject["project"]["optional-dependencies"].items()
        if name not in ("operator", "lookaside")
    }
    rows = table(text, "extra", "packages", "needed for")
    assert {row["extra"]: re.findall(r"`([\w-]+)`", f"`{row['packages'].strip('`')}`") for row in rows} == extras
    assert set(re.findall(r"\.\[(\w+)]", CLIENT.read_text())) <= extras.keys()
    packages = [re.split(r"[<>=]", one)[0] for one in pyproject["dependency-groups"]["dev"] if isinstance(one, str)]
    (install,) = (command.line for command in commands(text) if "mypy" in command.line and "pip" in command.line)
    assert install.split()[:2] == ["pip", "install"]
    assert set(install.split()[2:]) <= set(packages)
    assert pyproject["project"]["requires-python"] == ">=" + re.findall(r"needs Python (3\.\d+)", text)[0]


def test_targets_are_targets() -> None:
    """Each target of the table is parsed as the kind that its row describes."""
    rows = table(section(CLIENT, "Targets"), "target", "source of the endpoints", "install", "requires")
    forms = [row["target"].replace("port/", "50055/") for row in rows[:-1]]
    assert [type(parse_target(form)) for form in forms] == [PoolTarget, LookasideTarget, FileTarget]
    assert f"the default port is {LOOKASIDE_PORT}" in rows[1]["source of the endpoints"]


def test_file_is_one() -> None:
    """The example of a file has a Ready and a Draining endpoint and a policy."""
    view = parse_view(yaml.safe_load(block(section(CLIENT, "Targets"), "yaml")))
    assert (len(view.endpoints.ready), len(view.endpoints.draining), view.balancing.policy) == (1, 1, "LeastRequest")


async def test_iterator_is_a_target() -> None:
    """The example of an iterator follows a DNS name, as a target of connect."""
    resolve = run(block(section(CLIENT, "Targets"), "python"))["resolve"]
    async with connect(resolve("127.0.0.1", 50051)) as channel, asyncio.timeout(60):
        while not channel.status().backends:
            await channel.wait_for_change()
        assert [backend.endpoint.target for backend in channel.status().backends] == ["127.0.0.1:50051"]


def shown(default: object) -> str:
    """Return a default as the tables show it."""
    if default is inspect.Parameter.empty or default is dataclasses.MISSING:
        return "required"
    if default == LoadBalancing():
        return "LoadBalancing()"
    return str(default) if isinstance(default, StrEnum) else repr(default)


def test_options_are_those_of_connect() -> None:
    """The table has exactly the parameters of connect, in their order, with their defaults; seconds have a unit."""
    rows = table(section(CLIENT, "Options"), "option", "default", "unit", "meaning")
    parameters = inspect.signature(connect).parameters.values()
    assert [(row["option"], row["default"]) for row in rows] == [(one.name, shown(one.default)) for one in parameters]
    assert {row["option"] for row in rows if row["unit"] == "seconds"} == {"slow_start", "drain_timeout"}
    assert [one.name for one in parameters if one.kind is not one.KEYWORD_ONLY] == ["target"]


def tables(text: str) -> list[list[str]]:
    """Return the cells of the first row of each table."""
    heads = re.findall(r"^(\|.*\|)\n\|[-|]+\|$", text, re.MULTILINE)
    return [[cell.strip() for cell in head.strip("|").split("|")] for head in heads]


PUBLIC = [getattr(backendpool.client, name) for name in backendpool.client.__all__]

TYPES: list[type[Any]] = [
    found
    for found in PUBLIC
    if isinstance(found, type) and dataclasses.is_dataclass(found) and found not in (Status, BackendStatus)
]
"""The dataclasses that an application constructs."""


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_public_types_are_described(kind: type[Any]) -> None:
    """Each public dataclass has a section, with exactly its fields in their order, their defaults and ranges."""
    text = section(CLIENT, kind.__name__)
    (head,) = tables(text)
    rows = table(text, *head)
    fields = dataclasses.fields(kind)
    assert [(row["field"], row["default"]) for row in rows] == [(one.name, shown(one.default)) for one in fields]
    for row, one in zip(rows, fields, strict=True):
        if "name" in one.metadata:
            assert row["in the spec"] == one.metadata["name"]
            assert row["range"] == (f"{one.metadata['range'][0]} to {one.metadata['range'][1]}" if row["unit"] else "")


def test_types_are_public() -> None:
    """Each section with a table of fields is of a public dataclass."""
    levels = re.findall(r"^### (\w+)$", CLIENT.read_text(), re.MULTILINE)
    described = [name for name in levels if any("field" in head for head in tables(section(CLIENT, name)))]
    assert sorted(described) == sorted(kind.__name__ for kind in TYPES)


def test_policies_are_described() -> None:
    """The table of policies has every policy; the other choices are named with the field that takes them."""
    assert [row["policy"] for row in table(section(CLIENT, "Policies"), "policy", "picks")] == list(Policy)
    text = CLIENT.read_text()
    assert all(f"`{word}`" in text for word in (*EmptyPolicy, *Preference, *EndpointState, *Connection))


async def test_hash_key_gets_the_documented_arguments() -> None:
    """hash_key is called with the method name of the document and the metadata as a dict."""
    (method,) = re.findall(r"the method, such as `(\S+)`", section(CLIENT, "Consistent hashing"))
    got: list[tuple[str, Any]] = []

    def key(name: str, metadata: Any) -> None:
        got.append((name, metadata))

    class Greeter(GreetServiceServicer):
        async def Greet(self, request: GreetingRequest, context: Any) -> GreetingResponse:  # noqa: N802
            return GreetingResponse()

    server = FakePool(lambda server: add_GreetServiceServicer_to_server(Greeter(), server), count=1)
    async with server as pool, connect(pool, policy="ConsistentHash", hash_key=key) as channel:
        await GreetServiceStub(channel).Greet(GreetingRequest(), timeout=30, metadata=(("user", "ada"),))
    assert got[0] == (method, {"user": "ada"})


def test_errors_are_described() -> None:
    """The table has exactly the public errors of the client, with those that have a second base class."""
    rows = {row["error"]: row["meaning"] for row in table(section(CLIENT, "Errors"), "error", "raised", "meaning")}
    errors = [found for found in PUBLIC if isinstance(found, type) and issubclass(found, BackendPoolError)]
    assert {"BackendPoolError", *rows} == {error.__name__ for error in errors}
    assert ("also a `ValueError`" in rows["TargetError"], issubclass(TargetError, ValueError)) == (True, True)


def test_numbers_are_those_of_the_code() -> None:
    """Numbers about retries, keepalive, backoff, connections, ejections and timeouts equal those of the code."""
    text = " ".join(CLIENT.read_text().split())
    options = dict(CHANNEL_OPTIONS)
    assert f"up to {IDEMPOTENT.max_attempts} attempts in all, after about 10 ms and 20 ms" in text
    backoffs = [IDEMPOTENT.backoff(retries, lambda low, high: 1.0) for retries in range(IDEMPOTENT.max_attempts - 1)]
    assert backoffs == [0.01, 0.02]
    assert {StatusCode.UNAVAILABLE, StatusCode.CANCELLED} == IDEMPOTENT.codes
    assert f"sets attempts (at most {MAX_ATTEMPTS})" in text
    throttle = inspect.signature(RetryThrottle).parameters
    assert (throttle["max_tokens"].default, throttle["token_ratio"].default) == (1000.0, 0.1)
    assert (stall_timeout(10.0), stall_timeout(0.5)) == (5.0, 1.0)
    assert (options["grpc.keepalive_time_ms"], options["grpc.keepalive_timeout_ms"]) == (5 * 60_000, 5_000)
    assert options["grpc.initial_reconnect_backoff_ms"] == 200
    assert options["grpc.max_reconnect_backoff_ms"] == 5_000
    assert (LookasideTiming().backoff, LookasideTiming().longest_backoff) == (0.5, 5.0)
    assert (AT_ONCE, max(connect_stagger(10)) == 0.0, max(connect_stagger(100_000)) <= 3.0) == (10, True, True)
    assert f"1/{OVERPROVISIONING:g} ({100 / OVERPROVISIONING:.0f}%)" in text
    assert f"half-life of {HALF_LIFE:g} s" in text
    assert PANIC_PERCENT == 50
    assert _UNTIL_DONE == 3600.0
    assert f"at most {MAX_STATUS_ENDPOINTS:,} endpoints" in text


def test_outlier_detection_without_algorithms_turns_off_the_pools_own() -> None:
    """A client with `OutlierDetection()` ejects nothing, whatever the pool's spec says."""
    strict = OutlierDetection(failure_percentage=FailurePercentage(threshold=1, minimum_hosts=1, request_volume=1))
    stats = {"failing": Stats(failures=100), "good": Stats(successes=100)}
    used = Options(outliers=OutlierDetection()).over(LoadBalancing(outliers=strict)).outliers
    assert used is not None
    assert [key for key, found in sweep(0.0, stats, strict).items() if found.ejected] == ["failing"]
    assert [key for key, found in sweep(0.0, stats, used).items() if found.ejected] == []


def test_slow_start_has_the_formula_of_the_code() -> None:
    """The formula of the document equals SlowStart.ramp."""
    assert "max(`least`, (`age` / `window`) ^ (1 / `aggression`))" in " ".join(CLIENT.read_text().split())
    settings = SlowStart(window=20.0, aggression=2.0, least=0.3)
    assert [settings.ramp(age) for age in (1.0, 5.0, 20.0)] == [0.3, (5 / 20) ** (1 / 2), 1.0]
    assert SlowStart(window=20.0, least=0.01).ramp(0.0) == 1 / 20


async def test_grpcio_hides_load_reports() -> None:
    """grpcio does not pass the trailer of a load report to applications, as the limits say; remove it if it does."""

    async def report(request: bytes, context: Any) -> bytes:
        context.set_trailing_metadata(((TRAILER, b"\x09\x00\x00\x00\x00\x00\x00\xe0\x3f"), ("other", "value")))
        return request

    handlers: dict[str, Any] = {"Call": grpc.unary_unary_rpc_method_handler(report)}
    server = FakePool(
        lambda server: server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Load", handlers),)),
        count=1,
    )
    async with server as pool, connect(pool) as channel:
        method: Any = channel.unary_unary("/test.Load/Call")
        call = method(b"", timeout=30)
        await call
        assert list(await call.trailing_metadata()) == [("other", "value")]


def test_channel_options_are_known_to_grpc() -> None:
    """Each channel option in the document exists; gRPC itself ignores unknown options silently."""
    (library,) = (Path(grpc.__file__).parent / "_cython").glob("cygrpc*.so")
    known = library.read_bytes()
    named = re.findall(r"\bgrpc\.[a-z0-9_.]+_(?:ms|override)\b", CLIENT.read_text())
    assert len(named) == 5
    assert [name for name in named if name.encode() not in known] == []


def test_pod_has_time_to_end() -> None:
    """The sleep and the grace of the example end before Kubernetes kills the pod."""
    text = section(CLIENT, "Draining")
    spec = yaml.safe_load(block(text, "yaml"))["spec"]
    (container,) = spec["containers"]
    (grace,) = re.findall(r"grace=(\d+)", block(text, "python"))
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] + int(grace) < spec["terminationGracePeriodSeconds"]


async def test_server_stops_gracefully() -> None:
    """The example of a server serves until SIGTERM, and then stops with its grace."""
    double = """
class Server:
    async def start(self): print("started", flush=True)
    async def stop(self, grace): print(grace)
asyncio.run(serve(Server()))
"""
    program = block(section(CLIENT, "Draining"), "python") + double
    running = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert running.stdout is not None
    assert await running.stdout.readline() == b"started\n"
    running.send_signal(signal.SIGTERM)
    out, _ = await running.communicate()
    assert (out, running.returncode) == (b"20\n", 0)


def test_events_are_shown() -> None:
    """Each row of the table of events has a test that shows it."""
    rows = table(section(CLIENT, "When things fail"), "event", "effect on calls")
    assert [row["event"] for row in rows] == list(EVENTS_SHOWN_BY)
    for file, name in EVENTS_SHOWN_BY.values():
        assert f"def {name}(" in (REPOSITORY / "tests" / "unit" / file).read_text(), name


async def test_stalled_call_is_hedged() -> None:
    """The example returns the response of another backend if the first one does not respond."""
    called = 0

    class Greeter(GreetServiceServicer):
        async def Greet(self, request: GreetingRequest, context: Any) -> GreetingResponse:  # noqa: N802
            nonlocal called
            called += 1
            if called == 1:
                await asyncio.Event().wait()
            return GreetingResponse(Result=f"answer {called}")

    hedged = run(block(section(CLIENT, "Hedging"), "python"))["hedged"]
    server = FakePool(lambda server: add_GreetServiceServicer_to_server(Greeter(), server), count=2)
    async with server as pool, connect(pool) as channel:
        await pool.wait_until_connected(channel)
        answer = await hedged(GreetServiceStub(channel).Greet, GreetingRequest(), timeout=2.0)
        assert (answer.Result, called) == ("answer 2", 2)


async def test_tracing_is_shown() -> None:
    """Each statement has a test, and the example passes an interceptor for each kind of call."""
    text = section(CLIENT, "Tracing")
    tests = (REPOSITORY / "tests" / "unit" / "client" / "test_agents.py").read_text()
    for statement, name in TRACED_BY.items():
        assert statement in " ".join(text.split())
        assert f"def {name}(" in tests
    async with run(block(text, "python"))["traced"](FakePool()) as channel:
        assert len(channel._interceptors) == 4


def test_status_is_described() -> None:
    """The tables have exactly the fields of Status and BackendStatus, in their order."""
    text = section(CLIENT, "Status and metrics")
    for head, described in (("field", Status), ("field of a backend", BackendStatus)):
        fields = [name for row in table(text, head, "meaning") for name in re.findall(r"\w+", row[head])]
        assert fields == [field.name for field in dataclasses.fields(described)]


async def test_collector_exports_the_table_of_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example registers a collector, and its metrics, types and labels are those of the table."""
    import prometheus_client

    registry = prometheus_client.CollectorRegistry()
    monkeypatch.setattr(prometheus_client, "REGISTRY", registry)
    text = section(CLIENT, "Status and metrics")
    pool = FakePool()
    pool.set([Endpoint("127.0.0.1", free_port())])
    async with connect(pool) as channel, asyncio.timeout(60):
        while not channel.status().backends:
            await channel.wait_for_change()
        run(block(text, "python"))["export"](channel)
        exported = {
            sample.name: (metric.type, set(sample.labels))
            for metric in registry.collect()
            for sample in metric.samples
            if not sample.name.endswith("_created")
        }
        rows = table(text, "metric", "type", "labels", "meaning")
        assert exported == {row["metric"]: (row["type"], set(re.findall(r"\w+", row["labels"]))) for row in rows}


def test_fake_pool_can_do_what_it_says() -> None:
    """The tables have exactly the parameters and members of FakePool, with defaults, arguments and awaits."""
    text = section(CLIENT, "Testing your code")
    rows = table(text, "parameter", "default", "meaning")
    options = [(one.name, shown(one.default)) for one in inspect.signature(FakePool).parameters.values()]
    assert [(row["parameter"], row["default"]) for row in rows] == options
    members = re.findall(r"`(await )?pool\.(\w+)(?:\(([\w, ]+)\))?`", text)
    public = [name for name in vars(FakePool) if not name.startswith("_")]
    assert {name for _, name, _ in members} == set(public)
    for awaited, name, arguments in members:
        found = getattr(FakePool, name)
        if callable(found):
            assert bool(awaited) == inspect.iscoroutinefunction(found)
            assert ["self", *arguments.split(", ")] == list(inspect.signature(found).parameters)


def test_channel_has_the_two_documented_methods() -> None:
    """A channel has status and wait_for_change in addition to the methods of grpc.aio's channels."""
    assert inspect.iscoroutinefunction(PoolChannel.wait_for_change)
    assert not inspect.iscoroutinefunction(PoolChannel.status)

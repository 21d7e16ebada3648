"""docs/client.md against the code: its programs are run, its tables compared."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import json
import re
import signal
import sys
import tomllib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from backendpool.client import BackendStatus, Endpoint, EndpointSet, EndpointState, PoolChannel, Status, connect
from backendpool.client._resolvers.document import parse_view
from backendpool.client._resolvers.lookaside import LookasideTiming
from backendpool.client._retry import IDEMPOTENT, RetryThrottle
from backendpool.client._subchannel import AT_ONCE, CHANNEL_OPTIONS, Connection, connect_stagger
from backendpool.client._target import FileTarget, LookasideTarget, PoolTarget, parse_target
from backendpool.testing import FakePool
from greet.greet_pb2 import GreetingRequest, GreetingResponse
from greet.greet_pb2_grpc import GreetServiceServicer, GreetServiceStub, add_GreetServiceServicer_to_server
from tests.docs.markdown import CLIENT, REPOSITORY, block, commands, section, table
from tests.unit.greet.servers import greet_servers

HOSTS = ("127.0.0.1", "127.0.0.2")


SHOWN_BY = {
    "the pool is not known yet, or no backend was tried yet": (
        "client/test_channel.py",
        "test_waits_while_the_pool_is_unknown",
    ),
    "there is no cluster to be found": ("client/test_connect.py", "test_no_cluster_fails_calls_and_says_why"),
    "a pod begins": ("client/test_balancer.py", "test_new_backend_takes_calls_once_connected"),
    "a pod terminates": ("client/test_balancer.py", "test_draining_backend_gets_no_new_calls"),
    "a pod leaves the list": ("client/test_draining.py", "test_call_cut_by_the_end_of_the_grace_is_unavailable"),
    "a pod is killed": ("client/test_connect.py", "test_killed_backend_costs_no_idempotent_call"),
    "a connection is lost before a call leaves by it": (
        "client/test_pool_call.py",
        "test_transparent_retry_goes_to_another_backend",
    ),
    "a connection gets old (GOAWAY)": ("client/test_connect.py", "test_old_connections_cost_no_call"),
    "a backend answers nobody (node frozen or cut off)": (
        "client/test_stall.py",
        "test_unresponsive_backend_is_reconnected_and_may_still_answer",
    ),
    "a node is cut off, and data is unacknowledged for 5 s": ("../e2e/faults/test_nodes.py", "test_node_is_lost"),
    "a backend refuses connections": ("client/test_balancer.py", "test_backend_that_cannot_be_connected_to_is_skipped"),
    "all backends refuse connections": (
        "client/test_balancer.py",
        "test_fails_at_once_when_no_backend_can_be_connected_to",
    ),
    "one backend fails fast": ("client/selection/test_ejection.py", "test_backend_that_fails_is_ejected_and_returns"),
    "one backend is slow": ("client/selection/test_weights.py", "test_least_request_avoids_a_busy_backend"),
    "the deadline of a call is over": ("client/test_stall.py", "test_deadline_exceeded_is_not_retried"),
    "the pool is empty, `emptyPolicy: Fail`": (
        "client/test_channel.py",
        "test_wait_for_ready_waits_for_the_first_endpoint",
    ),
    "the pool is empty, `emptyPolicy: KeepLast`": (
        "client/test_balancer.py",
        "test_keep_last_keeps_the_last_endpoints",
    ),
    "the pool is deleted": ("client/resolvers/test_pool.py", "test_tells_that_the_pool_is_gone"),
    "the API server is away, or the right to read is lost": (
        "client/resolvers/test_pool.py",
        "test_outage_changes_nothing",
    ),
    "the lookaside is away": (
        "client/resolvers/test_lookaside.py",
        "test_keeps_what_was_told_while_the_lookaside_is_away",
    ),
    "an iterator ends, or raises": ("client/resolvers/test_iterator.py", "test_last_item_stands_at_the_end"),
    "the channel is closed": ("client/test_connect.py", "test_closed_channel_takes_no_calls_and_ends_its_source"),
}


TRACED_BY = {
    "Each attempt at a call then has one span": "test_span_per_attempt",
    "Errors and retries are the same as without an agent": "test_error_is_that_of_the_call",
    "For one span per call, however often it is retried, pass the interceptors to `connect`": "test_span_per_call",
    "With both, the spans of the attempts are children of the span of the call": "test_span_per_call_and_per_attempt",
}


def run(program: str, **names: Any) -> dict[str, Any]:
    """The names of a fragment that was run among ``names``."""
    exec(compile(program, CLIENT.name, "exec", flags=0, dont_inherit=True), names)
    return names


async def test_first_program_greets_by_each_backend(tmp_path: Path) -> None:
    """As it stands, with the file that the reader was told to write, but for where the two are."""
    text = section(CLIENT, "In a minute")
    *servers, written = [command.line for command in commands(text)][1:]
    assert [re.findall(r"python -m greet server --port (\d+) ", line) for line in servers] == [["50051"], ["50052"]]
    (document, path) = re.findall(r"echo '(.*)' > (\S+)$", written)[0]
    program = block(text, "python")
    assert f'"file://{path}"' in program
    moved = tmp_path / "greet.json"
    async with greet_servers(*HOSTS) as port:
        for line, host in zip(("127.0.0.1:50051", "127.0.0.1:50052"), HOSTS, strict=True):
            assert line in document
            document = document.replace(line, f"{host}:{port}")
        moved.write_text(document)
        out = await printed(program.replace(path, str(moved)))
    greetings = Counter(re.findall(r"^Hello, Ada Lovelace from pod: name\((\S+)\)", out, re.MULTILINE))
    assert greetings.keys() == set(HOSTS)
    assert greetings.total() == 4


async def test_listing_is_what_the_command_prints(tmp_path: Path) -> None:
    """The example, with the two backends of the first program, but for where they are and how old that is."""
    (command,) = commands(section(CLIENT, "What the client sees"))
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


def test_targets_are_targets() -> None:
    """Each form is read as the source that it is said to be; what is to be installed is an extra."""
    rows = table(section(CLIENT, "Targets"), "target", "the endpoints come from", "install", "needs")
    forms = [row["target"].replace("port/", "50055/") for row in rows[:-1]]
    assert [type(parse_target(form)) for form in forms] == [PoolTarget, LookasideTarget, FileTarget]
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"\.\[(\w+)]", CLIENT.read_text())) <= extras.keys()


def test_file_is_one() -> None:
    """The example says what its comment says."""
    view = parse_view(yaml.safe_load(block(section(CLIENT, "Targets"), "yaml")))
    assert (len(view.endpoints.ready), len(view.endpoints.draining), view.balancing.policy) == (1, 1, "LeastRequest")


async def test_iterator_is_a_target() -> None:
    """The example, with a way to look addresses up, is followed."""

    async def look_up() -> list[str]:
        return ["127.0.0.1"]

    names = {"AsyncIterator": AsyncIterator, "Endpoint": Endpoint, "EndpointSet": EndpointSet, "asyncio": asyncio}
    endpoints = run(block(section(CLIENT, "Targets"), "python"), look_up=look_up, **names)["endpoints"]
    async with connect(endpoints()) as channel, asyncio.timeout(60):
        while not channel.status().backends:
            await channel.wait_for_change()
        assert [backend.endpoint.target for backend in channel.status().backends] == ["127.0.0.1:50051"]


def test_options_are_those_of_connect() -> None:
    """Each has its row, with its default, in the order of the signature; seconds have their unit."""
    rows = table(section(CLIENT, "Options"), "option", "default", "unit", "meaning")
    parameters = [one for one in inspect.signature(connect).parameters.values() if one.kind is one.KEYWORD_ONLY]
    assert [(row["option"], row["default"]) for row in rows] == [(one.name, repr(one.default)) for one in parameters]
    assert {row["option"] for row in rows if row["unit"] == "seconds"} == {"slow_start", "drain_timeout"}


def test_numbers_are_those_of_the_code() -> None:
    """What the text says of retries, keepalive, pauses and spreading."""
    text = " ".join(CLIENT.read_text().split())
    options = dict(CHANNEL_OPTIONS)
    assert f"up to {IDEMPOTENT.max_attempts} attempts in all" in text
    backoffs = [IDEMPOTENT.backoff(retries, lambda low, high: 1.0) for retries in range(IDEMPOTENT.max_attempts - 1)]
    assert backoffs == [0.01, 0.02]
    assert inspect.signature(RetryThrottle).parameters["max_tokens"].default == 1000.0
    assert inspect.signature(RetryThrottle).parameters["token_ratio"].default == 0.1
    assert (options["grpc.keepalive_time_ms"], options["grpc.keepalive_timeout_ms"]) == (5 * 60_000, 5_000)
    assert options["grpc.initial_reconnect_backoff_ms"] == 200
    assert options["grpc.max_reconnect_backoff_ms"] == 5_000
    assert LookasideTiming().longest_backoff == 5.0
    assert (AT_ONCE, max(connect_stagger(10)) == 0.0, max(connect_stagger(100_000)) <= 3.0) == (10, True, True)


def test_channel_options_are_known_to_grpc() -> None:
    """gRPC takes any name for an option, and says nothing of one that it does not know."""
    (library,) = (Path(grpc.__file__).parent / "_cython").glob("cygrpc*.so")
    known = library.read_bytes()
    named = re.findall(r"\bgrpc\.[a-z0-9_.]+_(?:ms|override)\b", CLIENT.read_text())
    assert len(named) == 5
    assert [name for name in named if name.encode() not in known] == []


def test_pod_has_time_to_end() -> None:
    """Sleep and grace are over before the cluster kills the pod."""
    text = section(CLIENT, "What to set on servers")
    spec = yaml.safe_load(block(text, "yaml"))["spec"]
    (container,) = spec["containers"]
    (grace,) = re.findall(r"grace=(\d+)", block(text, "python"))
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] + int(grace) < spec["terminationGracePeriodSeconds"]


async def test_server_stops_gracefully() -> None:
    """The fragment serves until SIGTERM, and then stops with its grace."""
    double = """
class Server:
    async def start(self): print("started", flush=True)
    async def stop(self, grace): print(grace)
asyncio.run(serve(Server()))
"""
    program = "import asyncio, grpc.aio, signal\n" + block(section(CLIENT, "What to set on servers"), "python") + double
    running = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert running.stdout is not None
    assert await running.stdout.readline() == b"started\n"
    running.send_signal(signal.SIGTERM)
    out, _ = await running.communicate()
    assert (out, running.returncode) == (b"20\n", 0)


def test_what_happens_is_shown() -> None:
    """Each row of the table has a test that shows it."""
    rows = table(section(CLIENT, "What happens when"), "what", "calls")
    assert [row["what"] for row in rows] == list(SHOWN_BY)
    for file, name in SHOWN_BY.values():
        assert f"def {name}(" in (REPOSITORY / "tests" / "unit" / file).read_text(), name


async def test_stalled_call_is_hedged() -> None:
    """The example returns the response of another backend if the first one answers nobody."""
    called = 0

    class Greeter(GreetServiceServicer):
        async def Greet(self, request: GreetingRequest, context: Any) -> GreetingResponse:  # noqa: N802
            nonlocal called
            called += 1
            if called == 1:
                await asyncio.Event().wait()
            return GreetingResponse(Result=f"answer {called}")

    greet = run(block(section(CLIENT, "Hedging"), "python"))["greet"]
    server = FakePool(lambda server: add_GreetServiceServicer_to_server(Greeter(), server), count=2)
    async with server as pool, connect(pool) as channel:
        await pool.wait_until_connected(channel)
        answer = await greet(GreetServiceStub(channel), GreetingRequest(), timeout=2.0)
        assert (answer.Result, called) == ("answer 2", 2)


async def test_tracing_is_shown() -> None:
    """Each statement has a test that shows it, and the fragment gives interceptors of each form to a channel."""
    text = section(CLIENT, "Tracing")
    tests = (REPOSITORY / "tests" / "unit" / "client" / "test_agents.py").read_text()
    for statement, name in TRACED_BY.items():
        assert statement in " ".join(text.split())
        assert f"def {name}(" in tests
    channel = run(block(text, "python"), connect=connect, target=FakePool())["channel"]
    async with channel:
        assert len(channel._interceptors) == 4


def test_status_is_described() -> None:
    """Each field, of a pool and of a backend, in order."""
    text = section(CLIENT, "What the client sees")
    for head, described in (("field", Status), ("field of a backend", BackendStatus)):
        fields = [name for row in table(text, head, "meaning") for name in re.findall(r"\w+", row[head])]
        assert fields == [field.name for field in dataclasses.fields(described)]
    assert all(f"`{word}`" in text for word in (*Connection, *EndpointState))


async def test_collector_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the fragment, whose series are those that the gateway has."""
    import prometheus_client

    registry = prometheus_client.CollectorRegistry()
    monkeypatch.setattr(prometheus_client, "REGISTRY", registry)
    async with connect(FakePool()) as channel:
        run(block(section(CLIENT, "What the client sees"), "python"), channel=channel)
        assert registry.get_sample_value("backendpool_client_picks_total", {"pool": "FakePool"}) == 0.0


async def test_example_of_a_test_passes() -> None:
    """With what it imports and no more."""
    example = run(block(section(CLIENT, "Tests of your own"), "python").replace("timeout=5", "timeout=50"))
    async with asyncio.timeout(60):
        await example["test_greets_while_a_pod_dies"]()


def test_fake_pool_can_do_what_it_says() -> None:
    """Each method of the table is there, awaited where it has to be, with the arguments that are named."""
    text = section(CLIENT, "Tests of your own")
    shown = re.findall(r"`(await )?pool\.(\w+)(?:\(([\w, ]+)\))?`", text)
    public = [name for name in vars(FakePool) if not name.startswith("_")]
    assert {name for _, name, _ in shown} == set(public)
    for awaited, name, arguments in shown:
        found = getattr(FakePool, name)
        if callable(found):
            assert bool(awaited) == inspect.iscoroutinefunction(found)
            assert ["self", *arguments.split(", ")] == list(inspect.signature(found).parameters)


def test_channel_has_what_it_is_said_to_have() -> None:
    """The two that grpc.aio's channels have not."""
    assert inspect.iscoroutinefunction(PoolChannel.wait_for_change)
    assert not inspect.iscoroutinefunction(PoolChannel.status)

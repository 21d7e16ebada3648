"""The output of `backendpool endpoints`."""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from backendpool.api.endpoints import Endpoint, EndpointSet, EndpointState
from backendpool.api.load_balancing import LoadBalancing, Policy
from backendpool.api.pool import PoolView
from backendpool.cli.endpoints import follow, listing, look
from backendpool.client import connect
from backendpool.client._status import BackendStatus, Status
from backendpool.client._subchannel import Connection
from backendpool.errors import SourceError
from backendpool.testing import FakePool
from tests.fakes.objects import pool_view
from tests.unit.client.pods import METHOD, dead_endpoint, pods, silent_endpoint
from tests.unit.client.resolvers.lookasides import Replica, refuses, scripted, target, tells, whole
from tools.certificates import Authority, write

VIEW = PoolView(
    EndpointSet.of(
        (
            Endpoint("10.0.0.1", 50051, pod_name="greet-7c4d", zone="a"),
            Endpoint("10.0.0.2", 50051, pod_name="greet-9xk2", zone="b"),
            Endpoint("2001:db8::1", 50051, state=EndpointState.DRAINING),
        )
    ),
    LoadBalancing(Policy.LEAST_REQUEST),
)

LISTED = """\
ADDRESS               POD          ZONE   STATE      CONNECTED   CALLS   EJECTED
10.0.0.1:50051        greet-7c4d   a      Ready      yes         3       no
10.0.0.2:50051        greet-9xk2   b      Ready      no          0       yes
[2001:db8::1]:50051   -            -      Draining   not yet     -       no
2 ready, 1 draining; LeastRequest; 2.5 s old"""


def backend(place: int, connection: Connection, in_flight: int | None, *, ejected: bool = False) -> BackendStatus:
    endpoint = VIEW.endpoints.endpoints[place]
    return BackendStatus(
        endpoint, connection, ejected, in_flight, calls_started=0, calls_failed=0, ejections=0, connections=0
    )


def status(view: PoolView | None, *backends: BackendStatus, age: float = 2.5) -> Status:
    return Status(
        "ns/who", age, problem=None, initialized=True, calls_started=0, calls_failed=0, view=view, backends=backends
    )


BACKENDS = (
    backend(0, Connection.CONNECTED, 3),
    backend(1, Connection.FAILED, 0, ejected=True),
    backend(2, Connection.CONNECTING, None),
)


async def run(*arguments: str) -> tuple[int | None, str, str]:
    """Run the command in a process; return exit code, output and errors."""
    process = await started(*arguments)
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def started(*arguments: str) -> asyncio.subprocess.Process:
    program = "import sys; from backendpool.cli import main; sys.exit(main())"
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, "endpoints", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def test_listing_shows_what_is_known() -> None:
    """The listing has a line per backend, the counts, the policy and the age."""
    assert listing(status(VIEW, *BACKENDS)) == LISTED


def test_empty_listing_has_its_head() -> None:
    """An empty pool prints the header."""
    head = "ADDRESS   POD   ZONE   STATE   CONNECTED   CALLS   EJECTED"
    assert listing(status(pool_view(), age=0.0)) == f"{head}\n0 ready, 0 draining; RoundRobin; 0.0 s old"


def test_truncated_listing_says_so() -> None:
    """A truncated list says so."""
    truncated = PoolView(replace(VIEW.endpoints, truncated=True))
    assert "1 draining, and more that are not in the status; " in listing(status(truncated, *BACKENDS))


def test_missing_pool_is_said_to_be_missing() -> None:
    """A missing pool is reported with what to do, without an age."""
    assert listing(status(None)).startswith("there is no pool ns/who that may be read: apply ")


async def test_look_waits_until_each_backend_was_tried() -> None:
    """The listing waits until every backend was tried."""
    async with pods("a") as (a,), dead_endpoint() as dead:
        pool = FakePool()
        pool.set([a.endpoint, dead])
        async with connect(pool) as channel:
            lines = (await look(channel, timeout=10)).splitlines()
    found = {cells[0]: cells[-3:] for cells in map(str.split, lines[1:-1])}
    assert found == {a.endpoint.target: ["yes", "-", "no"], dead.target: ["no", "-", "no"]}


async def test_look_does_not_wait_for_ever() -> None:
    """A backend that does not respond is listed as not connected."""
    async with silent_endpoint() as silent:
        pool = FakePool()
        pool.set([silent])
        async with connect(pool) as channel:
            assert "not yet" in await look(channel, timeout=0.1)


async def test_look_tells_of_calls_under_way() -> None:
    """Calls in flight are listed if the policy counts them."""
    async with pods("a") as (a,):
        a.held = asyncio.Event()
        pool = FakePool(balancing=LoadBalancing(Policy.LEAST_REQUEST))
        pool.set([a.endpoint])
        async with connect(pool) as channel:
            who: Any = channel.unary_unary(METHOD)
            call = asyncio.ensure_future(who(b"", timeout=10))
            await a.called.wait()
            assert (await look(channel, timeout=10)).splitlines()[1].split()[-2] == "1"
            a.held.set()
            await call


async def test_look_at_nothing(tmp_path: Path) -> None:
    """If the pool cannot be read, the reason is an error."""
    async with connect(f"file://{tmp_path}/none.json") as channel:
        with pytest.raises(SourceError, match=r"none\.json: cannot be read"):
            await look(channel, timeout=10)


async def test_follow_shows_each_change_once() -> None:
    """--watch prints each change once; a growing age is no change."""
    shown: asyncio.Queue[str] = asyncio.Queue()
    async with pods("a") as (a,):
        pool = FakePool()
        async with connect(pool) as channel:
            following = asyncio.create_task(follow(channel, shown.put_nowait))
            assert "0 ready" in await shown.get()
            pool.set([a.endpoint])
            while "yes" not in (last := await shown.get()):
                assert "1 ready" in last
            pool.drain(0)
            assert "0 ready, 1 draining" in await shown.get()
            assert shown.empty()
            following.cancel()
            await asyncio.wait([following])


async def test_endpoints_of_a_lookaside_are_printed() -> None:
    """The endpoints of a lookaside are printed once."""
    async with pods("a") as (a,), dead_endpoint() as dead:
        told = whole(pool_view(a.endpoint, dead, balancing=LoadBalancing(Policy.LEAST_REQUEST)))
        async with scripted(tells(told)) as lookaside:
            code, out, err = await run(str(lookaside))
    assert (code, err) == (0, "")
    head, *rows, last = out.splitlines()
    assert head.split() == ["ADDRESS", "POD", "ZONE", "STATE", "CONNECTED", "CALLS", "EJECTED"]
    assert sorted(row.split() for row in rows) == sorted(
        [
            [a.endpoint.target, "a", "-", "Ready", "yes", "0", "no"],
            [dead.target, "dead", "-", "Ready", "no", "0", "no"],
        ]
    )
    assert last.startswith("2 ready, 0 draining; LeastRequest; ")


async def test_changes_are_printed_until_it_is_stopped() -> None:
    """--watch prints changes until a signal, and then exits with 0."""
    async with pods("a", "b") as (a, b), asyncio.timeout(20):
        replica = Replica(pool_view(a.endpoint))
        process = await started(str(target(await replica.start())), "--watch")
        assert process.stdout is not None
        for pod in (a, b):
            replica.publish(pool_view(pod.endpoint))
            while not (await process.stdout.readline()).startswith(pod.endpoint.target.encode()):
                pass
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
        await replica.stop()
    assert (process.returncode, err) == (0, b"")


async def test_refusal_exits_1() -> None:
    """A rejection exits with 1 and quotes the lookaside."""
    async with scripted(refuses(grpc.StatusCode.NOT_FOUND, "ask another")) as lookaside:
        code, out, err = await run(str(lookaside))
    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == "backendpool endpoints: NOT_FOUND: ask another"


async def test_silence_exits_1() -> None:
    """A lookaside that does not respond leads to exit code 1 after the timeout."""
    async with scripted(tells()) as lookaside:
        code, _, err = await run(str(lookaside), "--timeout", "0.2")
    assert (code, err) == (1, "backendpool endpoints: ns/who: no response within 0.2 s\n")


async def test_target_that_names_nothing_exits_2() -> None:
    """An invalid target exits with 2 and says what to write."""
    code, _, err = await run("greetserver")
    assert (code, "expected pool:///namespace/name" in err) == (2, True)


async def test_lookaside_with_mutual_tls_is_asked(tmp_path: Path) -> None:
    """A lookaside with mutual TLS is reached with the files of a client Secret."""
    ours = Authority.make(tmp_path / "ours")
    folder = tmp_path / "tls"
    write(folder, *ours.issue("client"), ours.certificate)
    async with dead_endpoint() as dead, scripted(tells(whole(pool_view(dead))), tls=ours) as lookaside:
        at = str(replace(lookaside, host="localhost"))
        code, out, _ = await run(at, "--tls-folder", str(folder))
        assert code == 0
        assert dead.target in out
        assert (await run(at, "--timeout", "0.5"))[0] == 1

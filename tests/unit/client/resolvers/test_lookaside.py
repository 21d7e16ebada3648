"""Following a lookaside over real connections."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from backendpool.api.endpoints import EndpointState
from backendpool.api.load_balancing import EmptyPolicy, LoadBalancing, Policy
from backendpool.api.protobuf import message_of
from backendpool.client._resolvers.lookaside import LookasideResolver, LookasideTiming
from backendpool.client._resolvers.resolver import OnView
from backendpool.client._target import LookasideTarget
from backendpool.lookaside.server import serving
from backendpool.proto.v1.endpoints_pb2 import EndpointSet
from tests.fakes.api_server import ApiServer
from tests.fakes.logs import logged
from tests.fakes.objects import endpoint_slice, pool, pool_view
from tests.fakes.until import until
from tests.unit.client.instrumentation import Instrumentation
from tests.unit.client.resolvers.following import following
from tests.unit.client.resolvers.lookasides import (
    HEARTBEAT,
    LOOPBACK,
    Replica,
    Stream,
    ends,
    refuses,
    replicated,
    scripted,
    target,
    tells,
    whole,
)
from tests.unit.lookaside.peers import SETTINGS
from tools.certificates import Authority, write

ONE, TWO = pool_view("192.0.2.1"), pool_view("192.0.2.1", "192.0.2.2")
QUICK = LookasideTiming(backoff=0.01, longest_backoff=0.01)

pytestmark = pytest.mark.parametrize(
    "instrumentation",
    [Instrumentation.NONE, Instrumentation.OPENTELEMETRY, Instrumentation.SENTRY],
    indirect=True,
)


@pytest.fixture(autouse=True)
def _instrumented(instrumentation: Instrumentation) -> None:
    """Run each test also with the interceptors of tracing agents."""


def source(
    lookaside: LookasideTarget,
    timing: LookasideTiming = QUICK,
    credentials: grpc.ChannelCredentials | None = None,
) -> Callable[[OnView], LookasideResolver]:
    return lambda on_view: LookasideResolver(lookaside, on_view, credentials=credentials, timing=timing)


class Pauses:
    """Replaces sleep and returns at once."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)


async def test_tells_what_the_lookaside_knows(tmp_path: Path) -> None:
    """Endpoints, states, policy and emptyPolicy arrive through a real lookaside."""
    cluster = ApiServer()
    cluster.put(endpoint_slice("10.0.0.1", draining=["10.0.0.2"]))
    cluster.put(pool(policy="Random", emptyPolicy="KeepLast"))
    async with cluster.connected(tmp_path) as api, serving(api, SETTINGS) as ports:
        ours = LookasideTarget(LOOPBACK, ports.grpc, "default", "greetserver")
        async with following(source(ours)) as told:
            (view,) = await told.count(1)
            assert view is not None
            states = {endpoint.address: endpoint.state for endpoint in view.endpoints.endpoints}
            assert states == {"10.0.0.1": EndpointState.READY, "10.0.0.2": EndpointState.DRAINING}
            assert view.balancing == LoadBalancing(Policy.RANDOM, EmptyPolicy.KEEP_LAST)
            assert told.source.problem is None
            cluster.put(endpoint_slice("10.0.0.1"))
            await told.count(2)


async def test_tells_each_change_once() -> None:
    """Heartbeats, and a new stream with the same state, report nothing."""
    streams = (ends(whole(ONE), HEARTBEAT), ends(whole(ONE)), tells(whole(ONE), HEARTBEAT, whole(TWO)))
    async with scripted(*streams) as lookaside, following(source(lookaside)) as told:
        assert await told.count(2) == [ONE, TWO]


async def test_is_as_old_as_the_lookaside_says() -> None:
    """The age of the endpoints includes the lookaside's own age."""
    replica = Replica(ONE, heartbeat=0.01)
    replica.age = 1000.0
    lookaside = target(await replica.start())
    async with following(source(lookaside)) as told:
        assert math.isinf(told.source.age())
        await told.count(1)
        assert 1000 <= told.source.age() < 2000
        replica.age = 5000.0
        await until(lambda: told.source.age() >= 5000)
        replica.age = 0.0
        await until(lambda: told.source.age() < 1000)
        await replica.stop()
        await told.problem()
        before = told.source.age()
        assert before < told.source.age(), "nobody says that it is current"


async def test_keeps_what_was_told_while_the_lookaside_is_away() -> None:
    """The last endpoints are kept while the lookaside is down, and changes are reported afterwards."""
    replica = Replica(ONE)
    port = await replica.start()
    async with following(source(target(port))) as told:
        await told.count(1)
        await replica.stop()
        assert "UNAVAILABLE" in await told.problem()
        replica.publish(TWO)
        await replica.start(port=port)
        assert await told.count(2) == [ONE, TWO]
        assert told.source.problem is None
        await replica.stop()


async def test_nothing_is_told_of_a_lookaside_that_was_never_there() -> None:
    """An unreachable lookaside leaves the pool unknown."""
    with socket.socket() as bound:
        bound.bind((LOOPBACK, 0))
        async with following(source(target(bound.getsockname()[1]))) as told:
            assert (await told.problem()).startswith("UNAVAILABLE: failed to connect to all addresses")
            assert told.views == []
            assert math.isinf(told.source.age())


async def test_unknown_pool_at_the_start_means_no_pool() -> None:
    """NOT_FOUND at the start means no pool; it is followed once the lookaside serves it."""
    unknown = refuses(grpc.StatusCode.NOT_FOUND, "this server knows another")
    made = asyncio.Event()

    async def sleep(seconds: float) -> None:
        await made.wait()

    script = scripted(unknown, tells(whole(ONE)))
    async with script as lookaside, following(source(lookaside, replace(QUICK, sleep=sleep))) as told:
        assert await told.count(1) == [None]
        assert await told.problem() == "NOT_FOUND: this server knows another"
        assert math.isinf(told.source.age())
        made.set()
        assert await told.count(2) == [None, ONE]
        assert told.source.problem is None


async def test_unknown_pool_later_changes_nothing() -> None:
    """NOT_FOUND later keeps the last endpoints."""
    unknown = refuses(grpc.StatusCode.NOT_FOUND)
    async with scripted(ends(whole(ONE)), unknown) as lookaside, following(source(lookaside)) as told:
        await until(lambda: "NOT_FOUND" in str(told.source.problem))
        assert told.views == [ONE]


@pytest.mark.parametrize(
    "broken",
    [
        refuses(grpc.StatusCode.CANCELLED),
        refuses(grpc.StatusCode.UNIMPLEMENTED),
        refuses(grpc.StatusCode.RESOURCE_EXHAUSTED, "read what comes", whole(ONE)),
        tells(b"\xff no message"),
        ends(),
    ],
)
async def test_no_error_of_the_lookaside_ends_it(broken: Stream) -> None:
    """After any error of the lookaside, the watch is retried."""
    async with scripted(broken, broken, tells(whole(TWO))) as lookaside, following(source(lookaside)) as told:
        await until(lambda: TWO in told.views)
        assert None not in told.views
        assert told.source.problem is None


async def test_silent_stream_is_made_anew() -> None:
    """A stream that is silent for too long is restarted, since its connection may be dead."""
    script = scripted(tells(whole(ONE)), tells(whole(TWO)))
    async with script as lookaside, following(source(lookaside, replace(QUICK, idle_timeout=0.5))) as told:
        assert await told.count(2) == [ONE, TWO]


async def test_silence_is_a_problem() -> None:
    """The problem says how long the stream was silent."""
    async with scripted(tells()) as lookaside, following(source(lookaside, replace(QUICK, idle_timeout=0.05))) as told:
        assert await told.problem() == "DEADLINE_EXCEEDED: the stream was silent for 0.05 s"


async def test_heartbeats_keep_a_stream() -> None:
    """Heartbeats keep a stream open."""
    replica = Replica(ONE, heartbeat=0.02)
    lookaside = target(await replica.start())
    async with following(source(lookaside, replace(QUICK, idle_timeout=1.0))) as told:
        await told.count(1)
        await asyncio.sleep(1.5)
        assert told.source.problem is None
    await replica.stop()


async def test_pauses_grow_and_are_spread() -> None:
    """The delays between retries grow and have jitter."""
    pauses = Pauses()
    drawn: list[float] = []

    def jitter(low: float, high: float) -> float:
        drawn.append(high)
        return high / 4

    timing = LookasideTiming(sleep=pauses.sleep, jitter=jitter)
    async with scripted(refuses(grpc.StatusCode.UNAVAILABLE)) as lookaside, following(source(lookaside, timing)):
        await until(lambda: len(pauses.seconds) >= 6)
    assert drawn[:6] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert pauses.seconds == [high / 4 for high in drawn]


@pytest.mark.parametrize("end", [ends(whole(ONE)), refuses(grpc.StatusCode.UNAVAILABLE, "max_age", whole(ONE))])
async def test_end_of_a_stream_that_lived_is_no_problem(end: Stream, caplog: pytest.LogCaptureFixture) -> None:
    """The normal end of a stream leads to a quiet reconnect after a random delay."""
    pauses = Pauses()
    timing = LookasideTiming(healthy_after=0.0, sleep=pauses.sleep, jitter=max)
    async with scripted(end, end, tells(whole(TWO))) as lookaside, following(source(lookaside, timing)) as told:
        assert await told.count(2) == [ONE, TWO]
    assert pauses.seconds == [timing.backoff] * 2
    assert caplog.messages == []


async def test_goes_on_at_another_replica() -> None:
    """When a replica stops, the client continues with another one."""
    async with replicated(ONE) as (lookaside, *replicas), following(source(lookaside)) as told:
        await told.count(1)
        ours, other = sorted(replicas, key=lambda replica: len(replica.topic), reverse=True)
        await ours.drain()
        await until(lambda: len(other.topic) == 1)
        assert told.views == [ONE]
        other.publish(TWO)
        assert await told.count(2) == [ONE, TWO]


async def test_clients_spread_over_replicas() -> None:
    """Two dozen clients use both replicas."""
    async with AsyncExitStack() as stack:
        lookaside, *replicas = await stack.enter_async_context(replicated(ONE))
        for _ in range(24):
            told = await stack.enter_async_context(following(source(lookaside)))
            await told.count(1)
        assert all(len(replica.topic) for replica in replicas)


async def test_unknown_policy_does_not_hide_the_endpoints(caplog: pytest.LogCaptureFixture) -> None:
    """An unknown policy of a newer lookaside is replaced by the default, with a warning."""
    message = message_of(ONE)
    message.balancing.policy = "Fastest"
    async with scripted(tells(message.SerializeToString())) as lookaside, following(source(lookaside)) as told:
        assert await told.count(1) == [ONE]
    (record,) = logged(caplog, "Spec cannot be parsed, using the default policies")
    assert getattr(record, "error", "").startswith("spec.policy: this version knows")


async def test_unknown_state_is_left_out() -> None:
    """An endpoint in an unknown state is ignored."""
    message: EndpointSet = message_of(TWO)
    message.endpoints[1].state = 7  # type: ignore[assignment]
    async with scripted(tells(message.SerializeToString())) as lookaside, following(source(lookaside)) as told:
        (view,) = await told.count(1)
    assert view is not None
    assert [endpoint.address for endpoint in view.endpoints.endpoints] == ["192.0.2.1"]


async def test_tls(tmp_path: Path) -> None:
    """With credentials, only the lookaside with the right certificate is followed; plaintext clients get nothing."""
    ours, others = Authority.make(tmp_path / "ours"), Authority.make(tmp_path / "others")
    folder = tmp_path / "tls"
    write(folder, *ours.issue("localhost"))
    cluster = ApiServer()
    cluster.put(endpoint_slice("10.0.0.1"))
    async with cluster.connected(tmp_path) as api, serving(api, replace(SETTINGS, tls_folder=folder)) as ports:
        lookaside = LookasideTarget("localhost", ports.grpc, "default", "greetserver")
        trusting = grpc.ssl_channel_credentials(ours.certificate)
        distrusting = grpc.ssl_channel_credentials(others.certificate)
        async with following(source(lookaside, QUICK, trusting)) as told:
            await told.count(1)
        for credentials in (distrusting, None):
            async with following(source(lookaside, QUICK, credentials)) as told:
                assert "UNAVAILABLE" in await told.problem()
                assert told.views == []

"""connect: targets, TLS to backends, options, closing."""

from __future__ import annotations

import asyncio
import inspect
import json
import math
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError

from backendpool.api.load_balancing import (
    FailurePercentage,
    LoadBalancing,
    OutlierDetection,
    Policy,
    Preference,
    SuccessRate,
)
from backendpool.client import EndpointSet, PoolChannel, PoolView, SlowStart, connect
from backendpool.client._subchannel import Connection
from backendpool.client._validation import _RULES
from backendpool.errors import NoBackendError, SettingsError, TargetError
from backendpool.testing import FakePool
from tests.fakes.objects import pool_view
from tests.unit.client.pods import LOOPBACK, METHOD, Pod, pods
from tests.unit.client.resolvers.lookasides import Replica, target
from tools.certificates import Authority


async def shares(channel: PoolChannel, calls: int) -> Counter[str]:
    who: Any = channel.unary_unary(METHOD)
    return Counter([(await who(b"", timeout=5)).decode() for _ in range(calls)])


async def connected(channel: PoolChannel, count: int) -> None:
    """Wait until exactly ``count`` backends are connected."""
    async with asyncio.timeout(10):
        while [one.connection for one in channel.status().backends] != [Connection.CONNECTED] * count:
            await channel.wait_for_change()


async def test_lookaside_is_followed() -> None:
    """Calls follow the pool's lookaside as it changes."""
    async with pods("a", "b") as (a, b):
        replica = Replica(pool_view(a.endpoint))
        try:
            async with connect(str(target(await replica.start()))) as channel:
                assert channel.status().pool == "ns/who"
                assert await shares(channel, 4) == {"a": 4}
                replica.publish(pool_view(a.endpoint, b.endpoint))
                await connected(channel, 2)
                assert await shares(channel, 4) == {"a": 2, "b": 2}
        finally:
            await replica.stop()


async def test_file_is_followed(tmp_path: Path) -> None:
    """Calls follow the file, with the policy in it."""
    path = tmp_path / "pool.json"
    async with pods("a", "b") as (a, b):
        lines = [pod.endpoint.target for pod in (a, b)]
        path.write_text(json.dumps({"endpoints": lines, "policy": "LeastRequest"}))
        async with connect(f"file://{path}") as channel:
            await connected(channel, 2)
            assert (await shares(channel, 40)).keys() == {"a", "b"}
            assert channel.status().backends[0].in_flight == 0  # watched, by that policy


async def test_iterator_is_followed() -> None:
    """Calls follow the endpoint sets of an async iterator."""
    sets: asyncio.Queue[EndpointSet] = asyncio.Queue()

    async def told() -> AsyncIterator[EndpointSet]:
        while True:
            yield await sets.get()

    async with pods("a", "b") as (a, b), connect(told()) as channel:
        sets.put_nowait(EndpointSet.of([a.endpoint]))
        assert await shares(channel, 2) == {"a": 2}
        sets.put_nowait(EndpointSet.of([b.endpoint]))
        async with asyncio.timeout(10):
            while channel.status().backends[0].endpoint != b.endpoint:
                await channel.wait_for_change()
        assert await shares(channel, 2) == {"b": 2}


@pytest.mark.parametrize("nothing", ["greetserver", "pool://default/greetserver", "http://greetserver:50051", ""])
async def test_target_that_names_nothing_is_refused_at_once(nothing: str) -> None:
    """An invalid target raises at once, and the message says what a valid one looks like."""
    with pytest.raises(TargetError, match="expected pool:///"):
        connect(nothing)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"policy": "Fastest"}, "invalid policy 'Fastest': expected RoundRobin, "),
        ({"prefer": "Planet"}, "invalid prefer 'Planet': expected Zone"),
        ({"hash_key": "user"}, "invalid hash_key 'user': expected a function"),
        ({"outlier_detection": {"interval": 1}}, "invalid outlier_detection .*: expected an OutlierDetection"),
        (
            {"outlier_detection": OutlierDetection(interval=0, success_rate=SuccessRate())},
            "invalid interval 0 of outlier_detection: expected a whole number from 1 to ",
        ),
        (
            {"outlier_detection": OutlierDetection(interval=cast("Any", 1.5), success_rate=SuccessRate())},
            r"invalid interval 1\.5 of outlier_detection",
        ),
        (
            {"outlier_detection": OutlierDetection(failure_percentage=FailurePercentage(threshold=101))},
            "invalid threshold 101 of outlier_detection: expected a whole number from 1 to 100",
        ),
        (
            {"outlier_detection": OutlierDetection(success_rate=cast("Any", True))},
            "invalid success_rate True of outlier_detection",
        ),
        ({"zone": None}, "invalid zone None: expected a name"),
        ({"prefer": "Zone"}, "prefer has no effect without zone"),
        ({"subset": -1}, "invalid subset -1: expected 0 or more"),
        ({"subset": 2.0}, r"invalid subset 2\.0: expected 0 or more"),
        ({"subset": True}, "invalid subset True: expected 0 or more"),
        ({"slow_start": -1.0}, r"invalid slow_start -1\.0: expected"),
        ({"slow_start": "5s"}, "invalid slow_start '5s': expected"),
        ({"slow_start": math.nan}, "invalid slow_start nan: expected"),
        ({"slow_start": SlowStart(-5.0)}, r"invalid window -5\.0 of slow_start: expected 0 or more"),
        ({"slow_start": 5.0, "policy": "Random"}, "slow_start has no effect with policy Random"),
        (
            {"slow_start": SlowStart(5.0, aggression=0.0)},
            r"invalid aggression 0\.0 of slow_start: expected a number above 0",
        ),
        ({"slow_start": SlowStart(5.0, least=0.0)}, r"invalid least 0\.0 of slow_start: expected a number above 0"),
        ({"slow_start": SlowStart(5.0, least=1.5)}, r"invalid least 1\.5 of slow_start"),
        ({"drain_timeout": -1.0}, r"invalid drain_timeout -1\.0: expected"),
        ({"drain_timeout": math.inf}, "invalid drain_timeout inf: expected"),
        ({"drain_timeout": None}, "invalid drain_timeout None: expected"),
        ({"policy": "ConsistentHash"}, "policy ConsistentHash needs hash_key"),
        ({"policy": "Random", "hash_key": str}, "hash_key has no effect with policy Random"),
        ({"idempotent": "/pkg.Svc/M"}, "invalid idempotent '/pkg.Svc/M': expected True, False, or a collection"),
        ({"idempotent": {"pkg.Svc/M"}}, "invalid idempotent .*: expected .* such as /package.Service/Method"),
        ({"idempotent": ["/pkg.Svc/"]}, "invalid idempotent"),
        ({"idempotent": [b"/pkg.Svc/M"]}, "invalid idempotent"),
        ({"idempotent": None}, "invalid idempotent None"),
        ({"service_config": "{"}, "service config: "),
        ({"service_config": {"methodConfig": []}}, "invalid service_config .*: expected a JSON string"),
        ({"interceptors": [object()]}, "invalid interceptors .*: expected a sequence of client interceptors"),
        ({"interceptors": None}, "invalid interceptors None"),
        (
            {"credentials": grpc.access_token_call_credentials("t")},
            "invalid credentials .*: expected channel",
        ),
        ({"options": {"grpc.keepalive_time_ms": 1}}, "invalid options .*: expected a sequence of pairs"),
        ({"options": ["grpc.keepalive_time_ms"]}, "invalid options"),
        ({"options": [(b"grpc.keepalive_time_ms", 1)]}, "invalid options"),
        ({"compression": "gzip"}, "invalid compression 'gzip': expected a grpc.Compression"),
        ({"lookaside_credentials": "ca.crt"}, "invalid lookaside_credentials 'ca.crt'"),
        ({"lookaside_credentials": grpc.ssl_channel_credentials()}, "lookaside_credentials has no effect"),
    ],
)
async def test_option_that_there_is_not_is_refused_at_once(wrong: dict[str, Any], why: str) -> None:
    """An invalid option raises at once, and nothing is started."""
    before = asyncio.all_tasks()
    with pytest.raises(SettingsError, match=why):
        connect(FakePool(), **wrong)
    assert asyncio.all_tasks() == before


def test_connect_without_a_running_loop() -> None:
    """Outside of a coroutine, the error says where to call connect."""
    with pytest.raises(SettingsError, match="connect needs a running event loop: call it in a coroutine"):
        connect(FakePool())


async def test_every_option_is_checked() -> None:
    """Each option of connect has a rule, so a new one cannot be left out."""
    options = {one.name for one in inspect.signature(connect).parameters.values() if one.kind is one.KEYWORD_ONLY}
    assert set(_RULES) == options - {"policy", "prefer"}


async def test_no_cluster_fails_calls_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a cluster, calls fail at once with the reason."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    async with connect("pool:///ns/who") as channel:
        who: Any = channel.unary_unary(METHOD)
        with pytest.raises(AioRpcError) as raised:
            await who(b"", timeout=30)
        assert raised.value.code() is StatusCode.UNAVAILABLE
        assert isinstance(raised.value, NoBackendError)
        assert isinstance(channel.status().problem, SettingsError)
        assert raised.value.details() == str(channel.status().problem)
        assert "KUBECONFIG" in str(raised.value)


class SecurePod(Pod):
    """A pod that serves TLS as ``localhost``."""

    authority: Authority

    def listen(self, server: grpc.aio.Server) -> int:
        chain, key = self.authority.issue("localhost")
        return server.add_secure_port(f"{LOOPBACK}:0", grpc.ssl_server_credentials([(key, chain)]))


async def test_backends_are_dialled_by_tls(tmp_path: Path) -> None:
    """Credentials and options apply to backends; plaintext does not reach a TLS backend."""
    pod = SecurePod("a")
    pod.authority = Authority.make(tmp_path / "ca")
    await pod.start()
    try:
        pool = FakePool()
        pool.set([pod.endpoint])
        credentials = grpc.ssl_channel_credentials(pod.authority.certificate)
        options = [("grpc.ssl_target_name_override", "localhost")]
        async with connect(pool, credentials=credentials, options=options) as channel:
            assert await shares(channel, 1) == {"a": 1}
        async with connect(pool) as channel:
            with pytest.raises(AioRpcError, match="accepts a connection"):
                await shares(channel, 1)
    finally:
        await pod.stop()


async def test_closed_channel_takes_no_calls_and_ends_its_source() -> None:
    """Closing ends the resolver and leaves no task."""
    before = asyncio.all_tasks()
    ended = asyncio.Event()

    async def told() -> AsyncIterator[PoolView]:
        try:
            yield pool_view(a.endpoint)
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with pods("a") as (a,):
        channel = connect(told())
        assert await shares(channel, 1) == {"a": 1}
        await channel.close()
        assert ended.is_set()
        assert channel.status().backends == ()
        with pytest.raises(grpc.aio.UsageError):
            await shares(channel, 1)
    assert asyncio.all_tasks() - before == set()


async def test_killed_backend_costs_no_idempotent_call() -> None:
    """A server that dies with calls in flight fails no idempotent call."""
    async with pods("a", "b") as (a, b):
        pool = FakePool()
        pool.set([a.endpoint, b.endpoint])
        async with connect(pool, idempotent=True) as channel:
            await pool.wait_until_connected(channel)
            who: Any = channel.unary_unary(METHOD)
            a.held = asyncio.Event()
            under_way = [asyncio.ensure_future(who(b"", timeout=10)) for _ in range(6)]
            await a.called.wait()
            await a.stop()
            assert await asyncio.gather(*under_way) == [b"b"] * 6
            assert channel.status().calls_failed == 3


class OldPod(Pod):
    """A pod that closes each connection after a while by GOAWAY."""

    options = (("grpc.max_connection_age_ms", 50), ("grpc.max_connection_age_grace_ms", 5_000))


async def test_old_connections_cost_no_call() -> None:
    """A server that closes old connections is reconnected, and no call fails."""
    pod = await OldPod("a").start()
    try:
        pool = FakePool()
        pool.set([pod.endpoint])
        async with connect(pool) as channel, asyncio.timeout(20):
            while len(pod.peers) < 3:
                await shares(channel, 1)
    finally:
        await pod.stop()


async def test_options_go_before_what_the_pool_asks_for() -> None:
    """Options of the client override the pool's spec."""
    async with pods("a", "b") as (a, b):
        pool = FakePool(balancing=LoadBalancing(Policy.CONSISTENT_HASH, hash_header="user"))
        pool.set([a.endpoint, b.endpoint])
        async with connect(pool, policy="RoundRobin", prefer=Preference.ZONE, zone="a") as channel:
            await pool.wait_until_connected(channel)
            who: Any = channel.unary_unary(METHOD)
            answers = [await who(b"", metadata=(("user", "ada"),), timeout=5) for _ in range(4)]
            assert Counter(answers) == {b"a": 2, b"b": 2}


async def test_subset_is_connected_to() -> None:
    """With ``subset``, exactly that many backends are connected."""
    async with pods("a", "b", "c") as three:
        pool = FakePool()
        pool.set(pod.endpoint for pod in three)
        async with connect(pool, subset=2) as channel:
            await connected(channel, 2)
            assert (await shares(channel, 4)).total() == 4
        assert sorted(len(pod.peers) for pod in three) == [0, 1, 1]

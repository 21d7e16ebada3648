"""gRPC's own xDS client against a lookaside: from EndpointSlices to balanced calls."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from grpc.aio import AioRpcError

from backendpool.api.endpoints import Endpoint
from backendpool.k8s.client import Api
from greet.gateway import modes
from greet.gateway.greeter import Greeter
from greet.settings import GatewaySettings
from tests.fakes.api_server import ApiServer
from tests.fakes.objects import endpoint_slice, pool
from tests.fakes.until import until
from tests.unit.greet.servers import REQUEST, greet_servers, pod_of
from tests.unit.lookaside.peers import Client, started
from tests.unit.lookaside.snapshots import snapshot_cache
from tests.unit.lookaside.xds.ads_server import AdsServer

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


@asynccontextmanager
async def calling(port: int, monkeypatch: pytest.MonkeyPatch, zone: str = "") -> AsyncIterator[Greeter]:
    """Yield a stub whose channel uses the control plane on ``port``."""
    server = {"server_uri": f"127.0.0.1:{port}", "channel_creds": [{"type": "insecure"}]}
    config = {"xds_servers": [server], "node": {"id": "test", "locality": {"zone": zone}}}
    monkeypatch.delenv("GRPC_XDS_BOOTSTRAP", raising=False)
    monkeypatch.setenv("GRPC_XDS_BOOTSTRAP_CONFIG", json.dumps(config))
    async with modes.xds(GatewaySettings(service="greetserver", namespace="default")) as greeter:
        yield greeter


async def shares(greeter: Greeter, calls: int) -> Counter[str]:
    return Counter([pod_of(await greeter.greet(REQUEST, 5)) for _ in range(calls)])


async def until_shares(greeter: Greeter, hosts: set[str]) -> None:
    """Call until exactly these backends answer."""
    async with asyncio.timeout(10):
        while True:
            try:
                if (await shares(greeter, 12)).keys() == hosts:
                    return
            except AioRpcError:
                await asyncio.sleep(0.05)


async def until_unavailable(greeter: Greeter) -> str:
    """Call until a call fails; return its details."""
    async with asyncio.timeout(10):
        while True:
            try:
                await shares(greeter, 1)
            except AioRpcError as error:
                return error.details() or ""


async def nacked(peer: Client) -> bool:
    return 'outcome="nack"' in (await peer.http("/metrics"))[1]


async def test_calls_are_spread_and_changes_followed(
    cluster: ApiServer, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ready and new backends get equal shares, draining ones none; without backends, calls fail with the reason."""
    async with greet_servers(*HOSTS) as port:
        cluster.put(endpoint_slice(*HOSTS, port=port))
        async with started(api) as peer, calling(peer.ports.grpc, monkeypatch) as greeter:
            await until(peer.ready)
            await until_shares(greeter, set(HOSTS))
            assert await shares(greeter, 30) == dict.fromkeys(HOSTS, 10)
            cluster.put(endpoint_slice(*HOSTS[:2], draining=HOSTS[2:], port=port))
            await until_shares(greeter, set(HOSTS[:2]))
            cluster.put(endpoint_slice(*HOSTS, port=port))
            await until_shares(greeter, set(HOSTS))
            cluster.put(endpoint_slice(port=port))
            assert "greetserver.default" in await until_unavailable(greeter)
            assert not await nacked(peer)


@pytest.mark.parametrize(
    "spec",
    [
        {"policy": "Random"},
        {"policy": "LeastRequest"},
        {"policy": "WeightedRoundRobin"},
        {"policy": "ConsistentHash", "consistentHash": {"header": "x-user"}},
        {"outlierDetection": {"successRate": {}, "failurePercentage": {}}},
        {"locality": {"prefer": "Zone"}},
    ],
    ids=lambda spec: next(iter(spec.values())),
)
async def test_every_policy_is_acknowledged(
    spec: dict[str, Any], cluster: ApiServer, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client ACKs every policy and calls all backends."""
    cluster.put(pool(**spec))
    async with greet_servers(*HOSTS) as port:
        cluster.put(endpoint_slice(*HOSTS, port=port))
        async with started(api) as peer, calling(peer.ports.grpc, monkeypatch) as greeter:
            await until(peer.ready)
            await until_shares(greeter, set(HOSTS))
            assert not await nacked(peer)


async def test_own_zone_is_preferred(cluster: ApiServer, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """With locality.prefer, calls stay in the client's zone while it has a ready endpoint."""
    cluster.put(pool(locality={"prefer": "Zone"}))
    async with greet_servers(*HOSTS) as port:
        slices = endpoint_slice(*HOSTS, port=port)
        for place, zone in enumerate("abb"):
            slices["endpoints"][place]["zone"] = zone
        cluster.put(slices)
        async with started(api) as peer, calling(peer.ports.grpc, monkeypatch, "a") as greeter:
            await until(peer.ready)
            await until_shares(greeter, {HOSTS[0]})
            slices["endpoints"][0]["conditions"] = {"ready": False}
            cluster.put(slices)
            await until_shares(greeter, set(HOSTS[1:]))


async def test_calls_go_on_while_the_lookaside_is_away(
    cluster: ApiServer, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the lookaside is down, the client keeps its last endpoints."""
    async with greet_servers(*HOSTS) as port:
        cluster.put(endpoint_slice(*HOSTS, port=port))
        async with started(api) as peer:
            calls = calling(peer.ports.grpc, monkeypatch)
            greeter = await calls.__aenter__()
            await until(peer.ready)
            await until_shares(greeter, set(HOSTS))
        assert await shares(greeter, 30) == dict.fromkeys(HOSTS, 10)
        await calls.__aexit__(None, None, None)


async def test_nacked_update_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls continue after a NACK, and the client uses the next valid update."""
    server = AdsServer()
    async with greet_servers(*HOSTS) as port, server.serving() as control:
        good, fewer = ([Endpoint(host, port) for host in hosts] for hosts in (HOSTS, HOSTS[:2]))
        server.topic.publish(snapshot_cache(*good))
        async with calling(control, monkeypatch) as greeter:
            await until_shares(greeter, set(HOSTS))
            server.topic.publish(snapshot_cache(*good, Endpoint("no-address", port)))
            await until(lambda: not (("ClusterLoadAssignment", True) not in server.acks))
            assert await shares(greeter, 30) == dict.fromkeys(HOSTS, 10)
            server.topic.publish(snapshot_cache(*fewer))
            await until_shares(greeter, set(HOSTS[:2]))
    assert server.acks.count(("ClusterLoadAssignment", True)) == 1

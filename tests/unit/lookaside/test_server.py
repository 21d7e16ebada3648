"""The lookaside server over real connections to gRPC clients and to an API server."""

import asyncio
import os
import signal
import socket
from collections import Counter
from collections.abc import Awaitable
from dataclasses import replace

import grpc.aio
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from backendpool.errors import SettingsError
from backendpool.k8s.client import Api
from backendpool.k8s.resources import ENDPOINT_SLICES, POOLS
from backendpool.lookaside.informers import EndpointInformer
from backendpool.lookaside.server import Ports, serve, serving
from backendpool.proto.lookaside.lookaside_pb2 import Request
from tests.fakes.api_server import ApiServer
from tests.fakes.objects import endpoint_slice
from tests.fakes.until import until
from tests.unit.lookaside.peers import NOT_SERVING, SERVING, SETTINGS, Client, client, rpc_error, started

LIST_SERVICES = reflection_pb2.ServerReflectionRequest(list_services="")


async def test_wire_format_is_the_one_of_existing_clients(cluster: ApiServer, api: Api) -> None:
    """Path, field numbers, types and enum values equal those of existing clients."""
    cluster.put(endpoint_slice("10.0.0.9"))
    async with started(api) as peer:
        await until(peer.ready)
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = peer.channel.unary_unary("/lookaside.Lookaside/Resolve")
        for router in (b"", b"\x08\x01"):  # RANDOM is zero, so proto3 leaves it out; ROUNDROBIN is one
            request = router + b"\x12\x0bgreetserver" + b"\x1a\x07default"
            assert await call(request) == b"\x0a\x0810.0.0.9"


async def test_round_robin_is_exact_for_all_clients_together(api: Api) -> None:
    """Two clients share one rotation: six calls give each of three backends two."""
    async with serving(api, SETTINGS) as ports, client(ports) as one, client(ports) as two:
        await until(one.ready)
        picks = [await peer.resolve() for _ in range(3) for peer in (one, two)]
    assert Counter(picks) == {"10.0.0.1": 2, "10.0.0.2": 2, "10.0.0.3": 2}


async def test_only_what_is_the_pools_is_asked_for(cluster: ApiServer, api: Api) -> None:
    """The watch selects slices by the labels of the pool, so other Services cost nothing."""
    async with started(api) as peer:
        await until(peer.ready)
    selector = "kubernetes.io/service-name=greetserver,backendpool.io/pool=greetserver,"
    selector += "app.kubernetes.io/component=backends"
    assert set(cluster.selected) == {(ENDPOINT_SLICES, "default", selector), (POOLS, "default", "")}


async def test_changes_are_followed(cluster: ApiServer, api: Api) -> None:
    """Added, draining and removed backends in all slices show up within moments."""
    async with started(api) as peer:
        await until(peer.ready)
        cluster.put(endpoint_slice("10.0.0.4", name="greetserver-2"))
        await until(lambda: equal(picks(peer), {"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"}))
        cluster.put(endpoint_slice("10.0.0.1", draining=["10.0.0.2", "10.0.0.3"]))
        await until(lambda: equal(picks(peer), {"10.0.0.1", "10.0.0.4"}))
        cluster.remove("EndpointSlice", "default", "greetserver-2")
        await until(lambda: equal(picks(peer), {"10.0.0.1"}))


async def picks(peer: Client) -> set[str]:
    return {await peer.resolve() for _ in range(4)}


async def equal(found: Awaitable[object], wanted: object) -> bool:
    return await found == wanted


async def test_rejections_reach_the_client(cluster: ApiServer, api: Api) -> None:
    """The client sees the status and the details of each rejection."""
    other = Request(service="other", namespace="default")
    cluster.put(endpoint_slice())
    async with started(api) as peer:
        await until(peer.ready)
        code, details = await rpc_error(peer.resolve(other))
        assert code is grpc.StatusCode.NOT_FOUND
        assert details.startswith("this server serves only greetserver")
        assert (await rpc_error(peer.resolve(Request())))[0] is grpc.StatusCode.INVALID_ARGUMENT
        assert (await rpc_error(peer.resolve()))[0] is grpc.StatusCode.UNAVAILABLE


async def test_not_serving_before_the_first_sync(cluster: ApiServer, api: Api) -> None:
    """Before the first list, health, readiness and Resolve fail with the reason, and liveness succeeds."""
    cluster.away = True
    async with started(api) as peer:
        assert [await peer.status(name) for name in ("", "lookaside.Lookaside")] == [NOT_SERVING] * 2
        code, details = await rpc_error(peer.resolve())
        assert code is grpc.StatusCode.UNAVAILABLE
        assert details.startswith("the endpoints of greetserver are not known yet")
        status, text = await peer.http("/readyz")
        assert status == 503
        assert text.startswith("the endpoints are not known yet")
        assert (await peer.http("/healthz"))[0] == 200
        cluster.away = False
        await until(peer.ready)
        assert await peer.status("lookaside.Lookaside") == SERVING
        assert await peer.http("/readyz") == (200, "ok\n")


async def test_not_serving_before_there_is_a_slice(cluster: ApiServer, api: Api) -> None:
    """A server that starts while the Service is recreated does not report an empty pool."""
    cluster.remove("EndpointSlice", "default", "greetserver-1")
    async with started(api) as peer:
        await until(lambda: shows(peer, "/readyz", "the Service greetserver has no EndpointSlice"))
        assert [await peer.status(name) for name in ("", "lookaside.Lookaside")] == [NOT_SERVING] * 2
        assert (await rpc_error(peer.resolve()))[1].startswith("the endpoints of greetserver are not known yet")
        assert "backendpool_endpoints{" not in (await peer.http("/metrics"))[1]
        cluster.put(endpoint_slice())
        await until(peer.ready)
        assert (await rpc_error(peer.resolve()))[1].startswith("greetserver has no ready endpoint")


async def shows(peer: Client, path: str, text: str) -> bool:
    return text in (await peer.http(path))[1]


async def test_last_endpoints_are_kept_while_the_api_server_is_unreachable(cluster: ApiServer, api: Api) -> None:
    """An outage changes neither responses nor health; changes show up after it."""
    async with started(api) as peer:
        await until(peer.ready)
        cluster.go_away()
        await until(lambda: cluster.refused)
        assert {await peer.resolve() for _ in range(3)} == {"10.0.0.1", "10.0.0.2", "10.0.0.3"}
        assert await peer.status() == SERVING
        assert (await peer.http("/readyz"))[0] == 200
        cluster.put(endpoint_slice("10.0.0.7"))
        cluster.away = False
        await until(lambda: equal(peer.resolve(), "10.0.0.7"))


async def test_last_endpoints_are_kept_while_the_service_is_recreated(cluster: ApiServer, api: Api) -> None:
    """No slice at all means a deleted Service; only an empty slice means that there are no pods."""
    async with started(api) as peer:
        await until(peer.ready)
        assert await peer.resolve()
        cluster.remove("EndpointSlice", "default", "greetserver-1")
        cluster.put(endpoint_slice("10.0.0.8", name="other"))
        await until(lambda: equal(picks(peer), {"10.0.0.8"}))
        cluster.remove("EndpointSlice", "default", "other")
        await asyncio.sleep(0.05)
        assert await peer.resolve() == "10.0.0.8"
        cluster.put(endpoint_slice(name="greetserver-2"))
        async with asyncio.timeout(5):
            while (await peer.http("/metrics"))[1].count('backendpool_endpoints{state="Ready"} 0.0') == 0:
                await asyncio.sleep(0.005)
        assert (await rpc_error(peer.resolve()))[0] is grpc.StatusCode.UNAVAILABLE


async def test_metrics_of_endpoints_and_answers(cluster: ApiServer, api: Api) -> None:
    """The metrics show responses by code, endpoints by state, their age and revision."""
    cluster.put(endpoint_slice("10.0.0.1", draining=["10.0.0.2", "10.0.0.3"]))
    async with started(api) as peer:
        await until(peer.ready)
        await peer.resolve()
        await rpc_error(peer.resolve(Request()))
        _, text = await peer.http("/metrics")
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert samples['backendpool_lookaside_resolves_total{code="OK"}'] == "1.0"
    assert samples['backendpool_lookaside_resolves_total{code="INVALID_ARGUMENT"}'] == "1.0"
    assert samples['backendpool_endpoints{state="Ready"}'] == "1.0"
    assert samples['backendpool_endpoints{state="Draining"}'] == "2.0"
    assert 0 <= float(samples["backendpool_view_age_seconds"]) < 5
    assert any(name.startswith("backendpool_endpoints_revision_info{revision=") for name in samples)


async def test_metrics_of_the_watch(cluster: ApiServer, api: Api) -> None:
    """Lists, events and failures of the watch are counted."""
    async with started(api) as peer:
        await until(peer.ready)
        cluster.put(endpoint_slice("10.0.0.4", name="greetserver-2"))
        await until(lambda: shows(peer, "/metrics", 'backendpool_endpoints{state="Ready"} 4.0'))
        cluster.go_away()
        await until(lambda: shows(peer, "/metrics", 'watch_failures_total{error="ApiError",resource="endpointslices"}'))
        _, text = await peer.http("/metrics")
    assert 'backendpool_lists_total{resource="endpointslices"} 1.0' in text
    assert 'backendpool_watch_events_total{kind="ADDED",resource="endpointslices"} 1.0' in text


async def test_metrics_before_the_first_sync(cluster: ApiServer, api: Api) -> None:
    """Before the first list, the age is infinite and the number of endpoints is absent, not zero."""
    cluster.away = True
    async with started(api) as peer:
        _, text = await peer.http("/metrics")
    assert "backendpool_view_age_seconds +Inf" in text
    assert "backendpool_endpoints{" not in text


async def test_reflection_lists_and_describes_the_services(api: Api) -> None:
    """Server reflection works, so grpcurl needs no proto file."""
    describe = reflection_pb2.ServerReflectionRequest(file_containing_symbol="lookaside.Lookaside")
    async with started(api) as peer:
        stream = reflection_pb2_grpc.ServerReflectionStub(peer.channel).ServerReflectionInfo()
        await stream.write(LIST_SERVICES)
        names = [service.name for service in (await stream.read()).list_services_response.service]
        await stream.write(describe)
        files = (await stream.read()).file_descriptor_response.file_descriptor_proto
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
    assert names == [
        "backendpool.v1.Endpoints",
        "envoy.service.discovery.v3.AggregatedDiscoveryService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "lookaside.Lookaside",
    ]
    assert b"backendpool/proto/lookaside/lookaside.proto" in files[0]


async def test_stop_lets_calls_in_flight_finish(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """On SIGTERM health is NOT_SERVING, new calls are accepted for the drain time, and calls in flight finish."""
    monkeypatch.setattr(Api, "connect", lambda program: asyncio.sleep(0, api))
    ports = Ports(free_port(), free_port())
    settings = replace(SETTINGS, port=ports.grpc, metrics_port=ports.metrics, drain_seconds=0.3, grace_seconds=30)
    served = asyncio.create_task(serve(settings))
    async with client(ports) as peer:
        await peer.channel.channel_ready()
        await until(peer.ready)
        stream = reflection_pb2_grpc.ServerReflectionStub(peer.channel).ServerReflectionInfo()
        await stream.write(LIST_SERVICES)
        await stream.read()

        os.kill(os.getpid(), signal.SIGTERM)

        await until(lambda: equal(peer.status(), NOT_SERVING))
        assert await peer.http("/readyz") == (503, "stopping\n")
        assert await peer.resolve() in {"10.0.0.1", "10.0.0.2", "10.0.0.3"}
        await until(lambda: stopped(peer))
        assert not served.done()
        await stream.write(LIST_SERVICES)
        assert len((await stream.read()).list_services_response.service) == 5
        await stream.done_writing()
        async with asyncio.timeout(5):
            await served


async def stopped(peer: Client) -> bool:
    """Return whether new calls fail."""
    async with client(peer.ports) as late:
        try:
            await late.resolve()
        except grpc.aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.UNAVAILABLE
    return False


async def test_port_in_use_is_a_settings_error(api: Api) -> None:
    """The error names the variable of the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"LOOKASIDE_PORT {port} is in use: set a free port"):
            async with serving(api, replace(SETTINGS, port=port)):
                pass


async def test_bug_in_the_watch_ends_the_server(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error in a watch ends the process, which would otherwise serve stale endpoints."""

    async def broken(self: EndpointInformer) -> None:
        raise RuntimeError("bug")

    monkeypatch.setattr(EndpointInformer, "run", broken)
    with pytest.raises(ExceptionGroup) as ended:
        async with serving(api, SETTINGS):
            await asyncio.sleep(5)
    assert ended.group_contains(RuntimeError, match="bug")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port

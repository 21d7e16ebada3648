"""The aggregated discovery service over real connections."""

from __future__ import annotations

import logging

import grpc.aio
import pytest
from envoy.service.discovery.v3.ads_pb2_grpc import AggregatedDiscoveryServiceStub
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from google.rpc.status_pb2 import Status

from backendpool.k8s.client import Api
from backendpool.lookaside.xds.servicer import SERVICE
from tests.fakes.api_server import ApiServer
from tests.fakes.logs import logged
from tests.fakes.objects import endpoint_slice
from tests.fakes.until import until
from tests.unit.lookaside.peers import started
from tests.unit.lookaside.snapshots import NAME, snapshot_cache
from tests.unit.lookaside.xds.ads_clients import ENDPOINTS
from tests.unit.lookaside.xds.ads_server import AdsServer


async def test_endpoints_are_followed_from_the_cluster_to_the_stream(cluster: ApiServer, api: Api) -> None:
    """A changed slice is sent to the streams of both protocol variants."""
    async with started(api) as peer:
        await until(peer.ready)
        stub = AggregatedDiscoveryServiceStub(peer.channel)
        sotw, delta = stub.StreamAggregatedResources(), stub.DeltaAggregatedResources()
        await sotw.write(DiscoveryRequest(type_url=ENDPOINTS, resource_names=[NAME]))
        await delta.write(DeltaDiscoveryRequest(type_url=ENDPOINTS, resource_names_subscribe=[NAME]))
        first, second = await sotw.read(), await delta.read()
        assert b"10.0.0.3" in first.resources[0].value
        assert first.resources[0].value == second.resources[0].resource.value
        cluster.put(endpoint_slice("10.0.0.9"))
        assert b"10.0.0.9" in (await sotw.read()).resources[0].value
        assert b"10.0.0.9" in (await delta.read()).resources[0].resource.value


async def test_nothing_is_sent_before_the_first_snapshot() -> None:
    """Nothing is sent before the first snapshot: an empty response would remove the resources of clients."""
    server = AdsServer()
    async with server.channel() as channel:
        stream = AggregatedDiscoveryServiceStub(channel).StreamAggregatedResources()
        await stream.write(DiscoveryRequest(type_url=ENDPOINTS, resource_names=[NAME]))
        await until(lambda: len(server.topic))
        server.topic.publish(snapshot_cache("10.0.0.1"))
        assert b"10.0.0.1" in (await stream.read()).resources[0].value


async def test_nack_is_logged_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Equal NACKs of several clients produce one log line."""
    server = AdsServer()
    server.topic.publish(snapshot_cache("10.0.0.1"))
    with caplog.at_level(logging.WARNING):
        async with server.channel() as channel:
            for _ in range(3):
                stream = AggregatedDiscoveryServiceStub(channel).StreamAggregatedResources()
                await stream.write(DiscoveryRequest(type_url=ENDPOINTS, resource_names=[NAME]))
                nonce = (await stream.read()).nonce
                error = Status(message="no locality like that")
                await stream.write(
                    DiscoveryRequest(
                        type_url=ENDPOINTS, resource_names=[NAME], response_nonce=nonce, error_detail=error
                    )
                )
                await stream.done_writing()
                assert await stream.read() is grpc.aio.EOF
    assert server.acks == [("ClusterLoadAssignment", True)] * 3
    (record,) = logged(caplog, "Client rejected a resource (NACK)", resource_type="ClusterLoadAssignment")
    assert caplog.records == [record]
    assert getattr(record, "error", "") == "no locality like that"


async def test_half_closed_stream_ends() -> None:
    """A half-closed stream ends with status OK and unsubscribes."""
    server = AdsServer()
    server.topic.publish(snapshot_cache("10.0.0.1"))
    async with server.channel() as channel:
        stream = AggregatedDiscoveryServiceStub(channel).StreamAggregatedResources()
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        assert await stream.code() is grpc.StatusCode.OK
        assert len(server.topic) == 0


async def test_garbage_is_an_invalid_argument() -> None:
    """Bytes that are no request abort the stream with INVALID_ARGUMENT."""
    server = AdsServer()
    async with server.channel() as channel:
        call: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            f"/{SERVICE}/StreamAggregatedResources"
        )
        stream = call()
        await stream.write(b"\xff\xff")
        with pytest.raises(grpc.aio.AioRpcError, match="invalid discovery request") as aborted:
            await stream.read()
        assert aborted.value.code() is grpc.StatusCode.INVALID_ARGUMENT

"""The aggregated discovery service, over real connections."""

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
from tests.fakes.until import until
from tests.unit.lookaside.peers import started
from tests.unit.lookaside.slices import endpoint_slice
from tests.unit.lookaside.views import NAME, publication
from tests.unit.lookaside.xds.ads import Server
from tests.unit.lookaside.xds.talk import ENDPOINTS


async def test_endpoints_are_followed_from_the_cluster_to_the_stream(cluster: ApiServer, api: Api) -> None:
    """A slice changes, and the stream is told, by either variant."""
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


async def test_nothing_is_told_before_it_is_known() -> None:
    """Not even to whom asks for something: an empty answer would take away what clients have."""
    server = Server()
    async with server.channel() as channel:
        stream = AggregatedDiscoveryServiceStub(channel).StreamAggregatedResources()
        await stream.write(DiscoveryRequest(type_url=ENDPOINTS, resource_names=[NAME]))
        await until(lambda: len(server.publications))
        server.publications.publish(publication("10.0.0.1"))
        assert b"10.0.0.1" in (await stream.read()).resources[0].value


async def test_refusal_is_logged_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """A thousand clients that refuse the same are one line with the message of the first."""
    server = Server()
    server.publications.publish(publication("10.0.0.1"))
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
    assert server.observer.verdicts == [("ClusterLoadAssignment", True)] * 3
    assert caplog.messages == ["a client refused a ClusterLoadAssignment: no locality like that"]


async def test_client_that_has_said_all_ends_the_stream() -> None:
    """A half-closed stream ends in good order, and is followed no more."""
    server = Server()
    server.publications.publish(publication("10.0.0.1"))
    async with server.channel() as channel:
        stream = AggregatedDiscoveryServiceStub(channel).StreamAggregatedResources()
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        assert await stream.code() is grpc.StatusCode.OK
        assert len(server.publications) == 0


async def test_garbage_is_refused() -> None:
    """Bytes that are no request end the stream with a sentence."""
    server = Server()
    async with server.channel() as channel:
        call: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            f"/{SERVICE}/StreamAggregatedResources"
        )
        stream = call()
        await stream.write(b"\xff\xff")
        with pytest.raises(grpc.aio.AioRpcError, match="that is no discovery request") as refused:
            await stream.read()
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT

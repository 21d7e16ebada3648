"""Watch, over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
import pytest

from backendpool.api.load_balancing import Balancing, EmptyPolicy, Policy
from backendpool.api.protobuf import view_of
from backendpool.k8s.client import Api
from backendpool.lookaside import watch_service
from backendpool.lookaside.server import Ports
from backendpool.lookaside.server import serving as lookaside_serving
from backendpool.lookaside.topic import Broadcast
from backendpool.lookaside.watch_service import Telling, WatchServicer
from backendpool.proto.v1.endpoints_pb2 import EndpointSet, WatchRequest
from backendpool.proto.v1.endpoints_pb2_grpc import EndpointsStub
from tests.fakes.api_server import ApiServer
from tests.fakes.pools import document
from tests.fakes.until import until
from tests.unit.lookaside.peers import SETTINGS, Client, client, started
from tests.unit.lookaside.slices import endpoint_slice
from tests.unit.lookaside.views import view

OURS = WatchRequest(namespace="default", service="greetserver")


class Watcher:
    """A client of Watch."""

    def __init__(self, channel: grpc.aio.Channel, request: WatchRequest = OURS) -> None:
        self.call = EndpointsStub(channel).Watch(request)

    async def next(self) -> EndpointSet:
        async with asyncio.timeout(5):
            message = await self.call.read()
        assert isinstance(message, EndpointSet), "the stream ended"
        return message

    async def addresses(self) -> list[str]:
        """Of the next message that tells any."""
        while (message := await self.next()).unchanged:
            pass
        return [endpoint.address for endpoint in message.endpoints]


@asynccontextmanager
async def serving(tellings: Broadcast[Telling], heartbeat: float = 60) -> AsyncIterator[str]:
    """The service alone; gives its address."""
    server = grpc.aio.server()
    WatchServicer("default", "greetserver", tellings, lambda: 2.5, heartbeat=heartbeat).register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def test_whole_set_at_once_and_on_each_change(cluster: ApiServer, api: Api) -> None:
    """Addresses, ports, states, and how to use them, as the cluster has them."""
    cluster.put({**document(policy="Random", emptyPolicy="KeepLast"), "kind": "GrpcBackendPool"})
    async with started(api) as peer:
        await until(peer.ready)
        stream = Watcher(peer.channel)
        told = view_of(await stream.next())
        assert [endpoint.target for endpoint in told.endpoints.endpoints] == [f"10.0.0.{n}:50051" for n in (1, 2, 3)]
        assert told.balancing == Balancing(Policy.RANDOM, EmptyPolicy.KEEP_LAST)
        cluster.put(endpoint_slice("10.0.0.1", draining=["10.0.0.2"]))
        assert len(view_of(await stream.next()).endpoints.draining) == 1


async def test_changed_policy_is_told(cluster: ApiServer, api: Api) -> None:
    """The spec is followed as the endpoints are."""
    cluster.put({**document(), "kind": "GrpcBackendPool"})
    async with started(api) as peer:
        await until(peer.ready)
        stream = Watcher(peer.channel)
        before = await stream.next()
        cluster.put({**document(policy="LeastRequest"), "kind": "GrpcBackendPool"})
        after = await stream.next()
    assert (before.balancing.policy, after.balancing.policy) == ("RoundRobin", "LeastRequest")
    assert before.revision == after.revision


async def test_heartbeats_tell_revision_and_age() -> None:
    """They say that nothing changed and how old the view is, and repeat nothing."""
    tellings: Broadcast[Telling] = Broadcast()
    tellings.publish(Telling(view("10.0.0.1")))
    async with serving(tellings, heartbeat=0.02) as address, grpc.aio.insecure_channel(address) as channel:
        stream = Watcher(channel)
        whole, beat = await stream.next(), await stream.next()
    assert (whole.unchanged, len(whole.endpoints)) == (False, 1)
    assert (beat.unchanged, len(beat.endpoints), beat.revision) == (True, 0, whole.revision)
    assert [message.age.ToTimedelta().total_seconds() for message in (whole, beat)] == [2.5, 2.5]


async def test_nothing_is_told_before_it_is_known() -> None:
    """Not an empty set, and no heartbeat: the stream waits."""
    tellings: Broadcast[Telling] = Broadcast()
    async with serving(tellings, heartbeat=0.01) as address, grpc.aio.insecure_channel(address) as channel:
        stream = Watcher(channel)
        reading = asyncio.create_task(stream.addresses())
        await asyncio.sleep(0.1)
        assert not reading.done()
        tellings.publish(Telling(view("10.0.0.1")))
        assert await reading == ["10.0.0.1"]


@pytest.mark.parametrize(
    ("request_", "code", "details"),
    [
        (WatchRequest(namespace="default"), grpc.StatusCode.INVALID_ARGUMENT, "service is empty"),
        (WatchRequest(service="greetserver"), grpc.StatusCode.INVALID_ARGUMENT, "namespace is empty"),
        (WatchRequest(namespace="x", service="greetserver"), grpc.StatusCode.NOT_FOUND, "this server knows"),
    ],
)
async def test_other_pools_are_refused(request_: WatchRequest, code: grpc.StatusCode, details: str) -> None:
    """With a sentence that says what to do."""
    async with serving(Broadcast()) as address, grpc.aio.insecure_channel(address) as channel:
        call = EndpointsStub(channel).Watch(request_)
        assert (await call.code(), (await call.details()).startswith(details)) == (code, True)


async def test_stopping_server_sends_its_clients_away(api: Api) -> None:
    """A stop ends the streams within their time, and not by cancelling them at the end of the grace."""
    stopping = asyncio.Event()
    serving_at: asyncio.Future[Ports] = asyncio.get_running_loop().create_future()

    async def serve() -> None:
        async with lookaside_serving(api, SETTINGS) as ports:
            serving_at.set_result(ports)
            await stopping.wait()

    served = asyncio.create_task(serve())
    async with client(await serving_at) as peer:
        await until(peer.ready)
        stream = Watcher(peer.channel)
        await stream.next()
        stopping.set()
        assert await stream.call.read() is grpc.aio.EOF
        assert await stream.call.code() is grpc.StatusCode.OK
    await served


async def test_service_is_known_by_its_full_name(api: Api) -> None:
    """Health and reflection speak of it as the proto does."""
    assert watch_service.SERVICE == "backendpool.v1.Endpoints"
    async with started(api) as peer:
        await until(lambda: _serves(peer))


async def _serves(peer: Client) -> bool:
    return await peer.status(watch_service.SERVICE) == 1

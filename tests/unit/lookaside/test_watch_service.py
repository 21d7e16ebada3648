"""Watch over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
import pytest

from backendpool.api.load_balancing import EmptyPolicy, LoadBalancing, Policy
from backendpool.api.protobuf import view_of
from backendpool.k8s.client import Api
from backendpool.lookaside import watch_service
from backendpool.lookaside.server import Ports
from backendpool.lookaside.server import serving as lookaside_serving
from backendpool.lookaside.topic import Topic
from backendpool.lookaside.watch_service import EncodedSnapshot, WatchServicer
from backendpool.proto.v1.endpoints_pb2 import EndpointSet, WatchRequest
from backendpool.proto.v1.endpoints_pb2_grpc import EndpointsStub
from tests.fakes.api_server import ApiServer
from tests.fakes.objects import endpoint_slice, pool, pool_view
from tests.fakes.until import until
from tests.unit.lookaside.peers import SETTINGS, Client, client, started

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
        """Return the addresses in the next message that is no heartbeat."""
        while (message := await self.next()).unchanged:
            pass
        return [endpoint.address for endpoint in message.endpoints]


@asynccontextmanager
async def serving(topic: Topic[EncodedSnapshot], heartbeat: float = 60) -> AsyncIterator[str]:
    """Serve Watch alone; yields the address."""
    server = grpc.aio.server()
    WatchServicer("default", "greetserver", topic, lambda: 2.5, heartbeat=heartbeat).register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def test_whole_set_at_once_and_on_each_change(cluster: ApiServer, api: Api) -> None:
    """The first message and each change carry all addresses, ports, states and the load balancing."""
    cluster.put(pool(policy="Random", emptyPolicy="KeepLast"))
    async with started(api) as peer:
        await until(peer.ready)
        stream = Watcher(peer.channel)
        got = view_of(await stream.next())
        assert [endpoint.target for endpoint in got.endpoints.endpoints] == [f"10.0.0.{n}:50051" for n in (1, 2, 3)]
        assert got.balancing == LoadBalancing(Policy.RANDOM, EmptyPolicy.KEEP_LAST)
        cluster.put(endpoint_slice("10.0.0.1", draining=["10.0.0.2"]))
        assert len(view_of(await stream.next()).endpoints.draining) == 1


async def test_changed_policy_is_sent(cluster: ApiServer, api: Api) -> None:
    """A changed spec is sent like a change of endpoints."""
    cluster.put(pool())
    async with started(api) as peer:
        await until(peer.ready)
        stream = Watcher(peer.channel)
        before = await stream.next()
        cluster.put(pool(policy="LeastRequest"))
        after = await stream.next()
    assert (before.balancing.policy, after.balancing.policy) == ("RoundRobin", "LeastRequest")
    assert before.revision == after.revision


async def test_heartbeats_have_revision_and_age() -> None:
    """Heartbeats carry revision and age, without endpoints."""
    topic: Topic[EncodedSnapshot] = Topic()
    topic.publish(EncodedSnapshot(pool_view("10.0.0.1")))
    async with serving(topic, heartbeat=0.02) as address, grpc.aio.insecure_channel(address) as channel:
        stream = Watcher(channel)
        whole, beat = await stream.next(), await stream.next()
    assert (whole.unchanged, len(whole.endpoints)) == (False, 1)
    assert (beat.unchanged, len(beat.endpoints), beat.revision) == (True, 0, whole.revision)
    assert [message.age.ToTimedelta().total_seconds() for message in (whole, beat)] == [2.5, 2.5]


async def test_nothing_is_sent_before_the_first_snapshot() -> None:
    """Before the first snapshot, neither an empty set nor a heartbeat is sent."""
    topic: Topic[EncodedSnapshot] = Topic()
    async with serving(topic, heartbeat=0.01) as address, grpc.aio.insecure_channel(address) as channel:
        stream = Watcher(channel)
        reading = asyncio.create_task(stream.addresses())
        await asyncio.sleep(0.1)
        assert not reading.done()
        topic.publish(EncodedSnapshot(pool_view("10.0.0.1")))
        assert await reading == ["10.0.0.1"]


@pytest.mark.parametrize(
    ("request_", "code", "details"),
    [
        (WatchRequest(namespace="default"), grpc.StatusCode.INVALID_ARGUMENT, "service is empty"),
        (WatchRequest(service="greetserver"), grpc.StatusCode.INVALID_ARGUMENT, "namespace is empty"),
        (WatchRequest(namespace="x", service="greetserver"), grpc.StatusCode.NOT_FOUND, "this server serves only"),
    ],
)
async def test_other_pools_are_rejected(request_: WatchRequest, code: grpc.StatusCode, details: str) -> None:
    """A request for another pool gets a status, and details that say what to do."""
    async with serving(Topic()) as address, grpc.aio.insecure_channel(address) as channel:
        call = EndpointsStub(channel).Watch(request_)
        assert (await call.code(), (await call.details()).startswith(details)) == (code, True)


async def test_stopping_server_closes_its_streams(api: Api) -> None:
    """A stopping server ends its streams with status OK before the grace period would cancel them."""
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


async def test_service_has_the_full_name_of_the_proto(api: Api) -> None:
    """The service has its full proto name, which health and reflection use too."""
    assert watch_service.SERVICE == "backendpool.v1.Endpoints"
    async with started(api) as peer:
        await until(lambda: _serves(peer))


async def _serves(peer: Client) -> bool:
    return await peer.status(watch_service.SERVICE) == 1

"""Mode pool, from the status that the operator writes to the calls, over real connections."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from kubernetes.aio.config import kube_config
from prometheus_client import CollectorRegistry

from backendpool.api.endpoints import Endpoint
from backendpool.errors import NoBackendError
from greet.gateway import modes
from greet.gateway.greeter import Greeter
from greet.gateway.metrics import GatewayMetrics
from greet.greet_pb2 import GreetingResponse
from greet.greet_pb2_grpc import GreetServiceServicer
from greet.settings import GatewaySettings
from tests.fakes.objects import reconciled_pool
from tests.fakes.until import until
from tests.unit.client.instrumentation import Instrumentation, instrumented
from tests.unit.greet.servers import REQUEST, Refusing, free_port, greet_servers, pod_of, serving
from tests.unit.k8s.scripted import ScriptedServer, Watch, answer, line, page, refuse

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


def published(hosts: Iterable[str], port: int, version: int = 41, **spec: Any) -> dict[str, Any]:
    """The pool greetserver in the API server, with the status that the operator writes."""
    endpoints = [Endpoint(host, port, pod_uid=f"uid-{host}", pod_name=host) for host in hosts]
    return reconciled_pool(*endpoints, resource_version=version, **spec)


@pytest.fixture(params=[Instrumentation.NONE, Instrumentation.OPENTELEMETRY, Instrumentation.SENTRY])
def traced(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run the test without and with the interceptors of tracing agents."""
    with instrumented(request.param):
        yield


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer()
    async with server.serving():
        yield server


@pytest.fixture(autouse=True)
def cluster(server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the scripted server the default cluster of the Kubernetes client."""
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", server.kubeconfig(tmp_path, {"token": "secret"}))


@asynccontextmanager
async def ready(registry: CollectorRegistry | None = None) -> AsyncIterator[Greeter]:
    """Yield a greeter that is ready; its metrics are in ``registry``."""
    settings = GatewaySettings(service="greetserver", namespace="default", grace_seconds=0.1)
    metrics = GatewayMetrics(registry or CollectorRegistry())
    async with modes.pool(settings, metrics) as greeter:
        await until(lambda: greeter.unready() is None)
        yield greeter


def called(registry: CollectorRegistry) -> dict[str, float]:
    """Number of calls by status code."""
    samples = (sample for metric in registry.collect() for sample in metric.samples)
    return {s.labels["code"]: s.value for s in samples if s.name == "greet_gateway_backend_calls_total"}


async def shares(greeter: Greeter, calls: int) -> Counter[str]:
    return Counter([pod_of(await greeter.greet(REQUEST, 5)) for _ in range(calls)])


async def test_shares_are_exact_from_the_first_call(server: ScriptedServer) -> None:
    """A ready gateway is connected to all backends, so each gets exactly its share of the calls."""
    registry = CollectorRegistry()
    async with greet_servers(*HOSTS) as port:
        server.script(page(published(HOSTS, port), version=41))
        async with ready(registry) as greeter:
            assert await shares(greeter, 300) == dict.fromkeys(HOSTS, 100)
    assert called(registry) == {"OK": 300}


async def test_status_is_followed(server: ScriptedServer) -> None:
    """Pods added to the status get calls, removed ones get none, and no call fails."""
    async with greet_servers(*HOSTS) as port:
        watch = Watch()
        server.script(page(published(HOSTS[:2], port), version=41), watch)
        async with ready() as greeter:
            assert (await shares(greeter, 4)).keys() == set(HOSTS[:2])
            watch.send(line("MODIFIED", published(HOSTS[1:], port, 42)))
            async with asyncio.timeout(5):
                while (await shares(greeter, 4)).keys() != set(HOSTS[1:]):
                    await asyncio.sleep(0.01)


def view_age(registry: CollectorRegistry) -> float:
    age = registry.get_sample_value("backendpool_view_age_seconds", {"pool": "default/greetserver"})
    assert age is not None
    return age


async def test_age_of_the_view_is_shown(server: ScriptedServer) -> None:
    """The endpoints' age is infinite until the pool has been read, then the time since the last update."""
    registry, settings = CollectorRegistry(), GatewaySettings(service="greetserver", namespace="default")
    server.script(hold := Watch(b" "))
    async with modes.pool(settings, GatewayMetrics(registry)):
        await hold.opened.wait()
        assert view_age(registry) == math.inf
        server.script(page(version=1), Watch())
        hold.cut()
        await until(lambda: view_age(registry) < 60)


async def test_unready_until_the_pool_was_read(server: ScriptedServer) -> None:
    """Until the API server has responded, the gateway is unready and says why."""
    server.script(*[answer({}, 503)] * 2)
    settings = GatewaySettings(service="greetserver", namespace="default")
    async with modes.pool(settings, GatewayMetrics(CollectorRegistry())) as greeter:
        assert greeter.unready() == "reading the pool and connecting to its backends for the first time"
        await until(lambda: "503 Service Unavailable" in str(greeter.unready()))
        server.script(page(version=1))
        await until(lambda: greeter.unready() is None)


async def test_started_before_its_pool(server: ScriptedServer) -> None:
    """A gateway without its pool, and so without permission to read it, is ready; calls fail until the pool exists."""
    async with greet_servers(HOSTS[0]) as port:
        server.script(refuse(403, "Forbidden"), page(version=1), watch := Watch())
        async with ready() as greeter:
            with pytest.raises(NoBackendError, match="there is no pool default/greetserver that may be read: apply"):
                await greeter.greet(REQUEST, 5)
            watch.send(line("ADDED", published(HOSTS[:1], port)))
            await until(lambda: greets(greeter))


async def greets(greeter: Greeter) -> bool:
    try:
        await greeter.greet(REQUEST, 5)
    except NoBackendError:
        return False
    return True


async def test_stays_ready_without_backends(server: ScriptedServer) -> None:
    """When its pool becomes empty, the gateway stays ready, and its error says that the pool has no endpoint."""
    async with greet_servers(HOSTS[0]) as port:
        watch = Watch()
        server.script(page(published(HOSTS[:1], port), version=41), watch)
        async with ready() as greeter:
            assert await shares(greeter, 1) == {HOSTS[0]: 1}
            watch.send(line("MODIFIED", published([], port, 42)))
            async with asyncio.timeout(5):
                while await greets(greeter):
                    await asyncio.sleep(0.01)
            with pytest.raises(NoBackendError, match="has no endpoint"):
                await greeter.greet(REQUEST, 5)
            assert greeter.unready() is None


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
async def test_backend_that_leaves_is_hidden_by_another(server: ScriptedServer, code: grpc.StatusCode) -> None:
    """A call that fails with UNAVAILABLE, or that a stopping server cancels, is retried on another backend."""
    registry = CollectorRegistry()
    refusing = Refusing(code)
    async with greet_servers(*HOSTS[:2]) as port, serving(refusing, HOSTS[2], port):
        server.script(page(published(HOSTS, port), version=41))
        async with ready(registry) as greeter:
            assert (await shares(greeter, 30)).keys() == set(HOSTS[:2])
    assert called(registry) == {"OK": 30}
    assert refusing.calls


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("backends", [1, 2])
async def test_unavailable_is_tried_three_times(server: ScriptedServer, backends: int) -> None:
    """If all backends are UNAVAILABLE, a call is attempted three times in total."""
    port = free_port()
    one, two = (Refusing(grpc.StatusCode.UNAVAILABLE) for _ in range(2))
    async with serving(one, HOSTS[0], port), serving(two, HOSTS[1], port):
        server.script(page(published(HOSTS[:backends], port), version=41))
        async with ready() as greeter:
            assert await code_of_a_call(greeter) is grpc.StatusCode.UNAVAILABLE
    assert one.calls + two.calls == 3


@pytest.mark.usefixtures("traced")
async def test_other_failures_are_not_tried_again(server: ScriptedServer) -> None:
    """A call that fails with another status is not retried."""
    refusing = Refusing(grpc.StatusCode.INTERNAL)
    port = free_port()
    async with serving(refusing, HOSTS[0], port):
        server.script(page(published(HOSTS[:1], port), version=41))
        async with ready() as greeter:
            assert await code_of_a_call(greeter) is grpc.StatusCode.INTERNAL
            assert refusing.calls == 1


async def code_of_a_call(greeter: Greeter) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await greeter.greet(REQUEST, 5)
    return caught.value.code()


@pytest.mark.usefixtures("traced")
async def test_call_that_outlives_its_backend_is_an_error_not_a_cancellation(server: ScriptedServer) -> None:
    """If its backend is removed, a call fails after the grace period with NoBackendError, not CancelledError."""
    registry = CollectorRegistry()
    hanging = Hanging()
    port = free_port()
    async with serving(hanging, HOSTS[0], port):
        watch = Watch()
        server.script(page(published(HOSTS[:1], port), version=41), watch)
        async with ready(registry) as greeter:
            call = asyncio.create_task(greeter.greet(REQUEST, 5))
            await hanging.called.wait()
            watch.send(line("MODIFIED", published([], port, 42)))
            with pytest.raises(NoBackendError, match="before it answered"):
                await call
    assert called(registry) == {"UNAVAILABLE": 1}


@pytest.mark.usefixtures("traced")
async def test_silent_backends_cost_no_greeting(server: ScriptedServer) -> None:
    """If backends freeze, their calls take longer but are all answered."""
    async with greet_servers(HOSTS[2]) as port, frozen_later(HOSTS[:2], port, HOSTS[2]) as freeze:
        server.script(page(published(HOSTS, port), version=41))
        async with ready() as greeter:
            assert await shares(greeter, 3) == {HOSTS[2]: 3}
            freeze.set()
            async with asyncio.timeout(10):
                await asyncio.gather(*(greeter.greet(REQUEST, 4) for _ in range(9)))
            async with asyncio.timeout(0.9):  # a call to a stalled backend would take a second
                await shares(greeter, 30)


async def test_slow_backend_is_waited_for(server: ScriptedServer) -> None:
    """A slow backend that answers other calls is not stalled, so its call is not hedged."""
    registry = CollectorRegistry()
    slow, port = Slow(first=1.5), free_port()
    async with serving(slow, HOSTS[0], port), greet_servers(HOSTS[1], port=port):
        server.script(page(published(HOSTS[:2], port), version=41))
        async with ready(registry) as greeter:
            calls = [asyncio.create_task(greeter.greet(REQUEST, 2.4)) for _ in range(2)]
            await asyncio.sleep(0.1)
            for _ in range(15):
                await greeter.greet(REQUEST, 2.4)
                await asyncio.sleep(0.1)
            await asyncio.gather(*calls)
    assert called(registry) == {"OK": 17}


@asynccontextmanager
async def frozen_later(hosts: Iterable[str], port: int, target: str) -> AsyncIterator[asyncio.Event]:
    """Run TCP proxies on ``hosts`` to the server at ``target``; once the event is set, they forward no data."""
    freeze = asyncio.Event()
    connections: set[asyncio.Task[None] | None] = set()

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            if freeze.is_set():
                await asyncio.Event().wait()
            sink.write(data)

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.current_task())
        onward, back = await asyncio.open_connection(target, port)
        try:
            await asyncio.gather(pump(reader, back), pump(onward, writer))
        finally:
            back.close()
            writer.close()

    async with AsyncExitStack() as stack:
        for host in hosts:
            listening = await asyncio.start_server(carry, host, port)
            stack.callback(listening.close)
        yield freeze
    for connection in filter(None, connections):
        connection.cancel()
    await asyncio.gather(*filter(None, connections), return_exceptions=True)


class Slow(GreetServiceServicer):
    """Delays its first call by ``first`` seconds."""

    def __init__(self, first: float) -> None:
        self._seconds = iter([first])

    async def Greet(self, request: Any, context: Any) -> GreetingResponse:  # noqa: N802
        await asyncio.sleep(next(self._seconds, 0))
        return GreetingResponse(Result="Hello, from pod: name(slow), ip(slow).")


class Hanging(Refusing):
    """Accepts calls and never answers."""

    def __init__(self) -> None:
        super().__init__(grpc.StatusCode.OK)
        self.called = asyncio.Event()

    async def Greet(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.called.set()
        await asyncio.Event().wait()

"""What a pool's channel does that no other one does: many backends, retries, and nobody there."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError

from backendpool.client.balancer import Balancer
from backendpool.client.channel import PoolChannel
from backendpool.client.channels import Backend, Connection
from backendpool.client.outcome import now
from backendpool.endpoints import Endpoint
from greet.greet_pb2 import Greeting, GreetingRequest, GreetingResponse
from greet.greet_pb2_grpc import GreetServiceServicer, GreetServiceStub, add_GreetServiceServicer_to_server
from tests.unit.client.pods import LOOPBACK, METHOD, Pod, balancing, dead_endpoint, pods, settled, view


class FailingPod(Pod):
    """Fails its first ``failures`` calls, after it has seen them."""

    failures = 1
    code = StatusCode.UNAVAILABLE
    calls = 0

    async def _answer(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        self.calls += 1
        if self.calls <= self.failures:
            await context.abort(self.code, "not now")
        return await super()._answer(request, context)


@pytest.fixture
async def failing() -> AsyncIterator[FailingPod]:
    pod = FailingPod("failing")
    await pod.start()
    yield pod
    await pod.stop()


def connected(balancer: Balancer, port: int) -> Backend:
    """Have the balancer think that it is connected to ``port``: so it does until it hears of a connection's end."""
    (backend,) = (one for one in balancer.backends if one.endpoint.port == port)
    backend.connection = Connection.CONNECTED
    balancer._connection_changed(backend)
    return backend


def unary(channel: PoolChannel) -> Any:
    return channel.unary_unary(METHOD)


def unary_stream(channel: PoolChannel) -> Any:
    return channel.unary_stream(METHOD)


@asynccontextmanager
async def serving(handler: Any) -> AsyncIterator[Endpoint]:
    """Where ``handler`` answers calls of METHOD."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Who", {"Are": handler}),))
    async with running(server) as endpoint:
        yield endpoint


@asynccontextmanager
async def running(server: grpc.aio.Server) -> AsyncIterator[Endpoint]:
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    await server.start()
    try:
        yield Endpoint(LOOPBACK, port)
    finally:
        await server.stop(None)


def retries(**policy: Any) -> str:
    default = {
        "maxAttempts": 3,
        "initialBackoff": "0.001s",
        "maxBackoff": "0.001s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": {**default, **policy}}]})


async def test_backends_share_calls() -> None:
    """Calls through one callable go to each backend in its turn."""
    async with pods("a", "b") as (a, b), balancing(a.endpoint, b.endpoint) as balancer:
        call = unary(PoolChannel(balancer))
        assert Counter([await call(b"") for _ in range(20)]) == {b"a": 10, b"b": 10}


async def test_backend_that_leaves_gets_no_call() -> None:
    """From the moment that the pool has changed, calls go to those that are left."""
    async with pods("a", "b") as (a, b), balancing(a.endpoint, b.endpoint) as balancer:
        call = unary(PoolChannel(balancer))
        balancer.update(view([b.endpoint]))
        assert Counter([await call(b"") for _ in range(10)]) == {b"b": 10}


async def test_callables_of_backends_that_left_are_let_go() -> None:
    """A callable that is kept for ever does not keep all backends that there ever were."""
    async with pods("a") as (a,), balancing(a.endpoint) as balancer:
        call = unary(PoolChannel(balancer))
        for number in range(40):
            a.name = str(number)
            balancer.update(view([a.endpoint]))
            assert await call(b"", timeout=5) == a.name.encode()
        assert len(call._method._natives) < 25


async def test_generated_stub() -> None:
    """A stub that protoc generated works as it is."""

    class Servicer(GreetServiceServicer):
        async def Greet(self, request: GreetingRequest, context: Any) -> GreetingResponse:  # noqa: N802
            return GreetingResponse(Result=f"Hello, {request.greeting.first_name}")

    server = grpc.aio.server()
    add_GreetServiceServicer_to_server(Servicer(), server)
    async with running(server) as endpoint, balancing(endpoint) as balancer:
        answer = await GreetServiceStub(PoolChannel(balancer)).Greet(
            GreetingRequest(greeting=Greeting(first_name="Ada")), timeout=5
        )
    assert answer.Result == "Hello, Ada"


@pytest.mark.parametrize("wait_for_ready", [False, True])
async def test_call_that_never_left_goes_elsewhere(wait_for_ready: bool) -> None:
    """A call that meets a lost connection is answered by another backend, whatever may be repeated."""
    async with pods("a") as (a,), dead_endpoint() as dead, balancing(a.endpoint, dead) as balancer:
        connected(balancer, dead.port)
        call = unary(PoolChannel(balancer))
        assert [await call(b"", wait_for_ready=wait_for_ready, timeout=10) for _ in range(4)] == [b"a"] * 4


async def test_streams_that_never_left_go_elsewhere() -> None:
    """So it is with streams, whose first request is not lost."""
    mirror: Any = grpc.stream_stream_rpc_method_handler(_mirror)
    async with serving(mirror) as endpoint, dead_endpoint() as dead, balancing(endpoint, dead) as balancer:
        connected(balancer, dead.port)
        channel: Any = PoolChannel(balancer)
        call = channel.stream_stream(METHOD)
        for _ in range(2):
            assert [answer async for answer in call(iter([b"x", b"y"]))] == [b"x", b"y"]
        for _ in range(2):
            talk = call()
            await talk.write(b"x")
            await talk.done_writing()
            assert [await talk.read(), await talk.read()] == [b"x", grpc.aio.EOF]


async def _mirror(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def test_callbacks_hear_of_the_last_attempt() -> None:
    """Whoever waits for no response but for the end of a call hears of the end, and not of an attempt's."""
    async with pods("a") as (a,), dead_endpoint() as dead, balancing(a.endpoint, dead) as balancer:
        connected(balancer, dead.port)
        for _ in range(2):
            told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            call = unary(PoolChannel(balancer))(b"")
            call.add_done_callback(told.set_result)
            assert await asyncio.wait_for(told, 10) is call
            assert now(call.code()) is StatusCode.OK


async def test_polling_hears_of_the_last_attempt() -> None:
    """Whoever asks now and then whether a call is done hears of the end as well."""
    async with pods("a") as (a,), dead_endpoint() as dead, balancing(a.endpoint, dead) as balancer:
        connected(balancer, dead.port)
        for _ in range(2):
            call = unary(PoolChannel(balancer))(b"")
            async with asyncio.timeout(10):
                while not call.done():
                    await asyncio.sleep(0.001)
            assert now(call.code()) is StatusCode.OK


async def test_never_left_and_nowhere_to_go() -> None:
    """Where no other backend is left, the error is that of the connection."""
    async with dead_endpoint() as dead, balancing(dead) as balancer:
        connected(balancer, dead.port)
        with pytest.raises(AioRpcError) as raised:
            await unary(PoolChannel(balancer))(b"")
        assert raised.value.code() is StatusCode.UNAVAILABLE
        assert "Connection refused" in (raised.value.details() or "")


async def test_call_that_may_have_left_is_not_repeated(failing: FailingPod) -> None:
    """What a server has seen is not sent again unasked."""
    async with balancing(failing.endpoint) as balancer:
        assert await unary(PoolChannel(balancer))(b"").code() is StatusCode.UNAVAILABLE
        assert failing.calls == 1


@pytest.mark.parametrize("idempotent", [True, {METHOD}])
@pytest.mark.parametrize("code", [StatusCode.UNAVAILABLE, StatusCode.CANCELLED])
async def test_idempotent_call_goes_elsewhere(failing: FailingPod, idempotent: Any, code: StatusCode) -> None:
    """What may be carried out twice is sent to a backend that has not failed it."""
    failing.failures, failing.code = 100, code
    async with pods("a") as (a,), balancing(a.endpoint, failing.endpoint) as balancer:
        call = unary(PoolChannel(balancer, idempotent=idempotent))
        assert [await call(b"") for _ in range(6)] == [b"a"] * 6
        assert failing.calls > 0


async def test_only_methods_named_idempotent(failing: FailingPod) -> None:
    """Where methods are named, the others are not repeated."""
    async with balancing(failing.endpoint) as balancer:
        call = unary(PoolChannel(balancer, idempotent={"/test.Who/Else"}))
        assert await call(b"").code() is StatusCode.UNAVAILABLE


async def test_service_config_sets_attempts(failing: FailingPod) -> None:
    """A retryPolicy is followed, up to its attempts; the last error stands."""
    failing.failures = 100
    async with balancing(failing.endpoint) as balancer:
        call = unary(PoolChannel(balancer, service_config=retries()))
        assert await call(b"").code() is StatusCode.UNAVAILABLE
        assert failing.calls == 3
        failing.failures = failing.calls + 2
        assert await call(b"") == b"failing"


async def test_budget_is_the_channels(failing: FailingPod) -> None:
    """Where too many calls have failed, by whatever callable, none is repeated."""
    failing.failures = 100
    config = json.loads(retries()) | {"retryThrottling": {"maxTokens": 8, "tokenRatio": 0.1}}
    async with balancing(failing.endpoint) as balancer:
        channel = PoolChannel(balancer, service_config=json.dumps(config))
        for _ in range(3):
            assert await unary(channel)(b"").code() is StatusCode.UNAVAILABLE
    # The fourth failure leaves half of the tokens: three attempts, then one and one again.
    assert failing.calls == 3 + 1 + 1


async def test_no_retry_that_would_come_too_late(failing: FailingPod) -> None:
    """A deadline is for the call and all its attempts: where it ends before the backoff, the error is told at once."""
    slow = retries(initialBackoff="60s", maxBackoff="60s")
    async with balancing(failing.endpoint) as balancer, asyncio.timeout(10):
        call = unary(PoolChannel(balancer, service_config=slow))
        assert await call(b"", timeout=20).code() is StatusCode.UNAVAILABLE
    assert failing.calls == 1


async def test_cancelled_between_attempts(failing: FailingPod) -> None:
    """A call that waits for its next attempt is cancelled like any other, and not sent again."""
    slow = retries(initialBackoff="60s", maxBackoff="60s")
    async with balancing(failing.endpoint) as balancer, asyncio.timeout(10):
        call = unary(PoolChannel(balancer, service_config=slow))(b"")
        waiting = asyncio.ensure_future(call.code())
        while call.time_remaining() is not None or call._call is not None:
            await asyncio.sleep(0.001)
        assert (call.done(), call.cancel(), call.done()) == (False, True, True)
        assert await waiting is StatusCode.CANCELLED
        assert failing.calls == 1


async def test_started_streams_are_not_repeated() -> None:
    """What has begun to answer is not asked again, though it may be carried out twice."""
    begun = 0

    async def one_and_fail(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> AsyncIterator[bytes]:
        nonlocal begun
        begun += 1
        yield b"one"
        await context.abort(StatusCode.UNAVAILABLE, "broken")

    handler: Any = grpc.unary_stream_rpc_method_handler(one_and_fail)
    async with serving(handler) as endpoint, balancing(endpoint) as balancer:
        call: Any = unary_stream(PoolChannel(balancer, idempotent=True))(b"")
        assert await anext(aiter(call)) == b"one"
        with pytest.raises(AioRpcError):
            await anext(aiter(call))
    assert begun == 1


async def test_streams_are_not_repeated_once_requests_were_read_on() -> None:
    """A stream of which more than the first request was taken is not repeated, for requests are had only once."""
    got: list[list[bytes]] = []

    async def read_and_fail(stream: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        got.append([await anext(stream), await anext(stream)])
        await context.abort(StatusCode.UNAVAILABLE, "not now")

    handler: Any = grpc.stream_unary_rpc_method_handler(read_and_fail)
    async with serving(handler) as endpoint, balancing(endpoint) as balancer:
        channel: Any = PoolChannel(balancer, idempotent=True)
        assert await channel.stream_unary(METHOD)(iter([b"x", b"y"])).code() is StatusCode.UNAVAILABLE
    assert got == [[b"x", b"y"]]


async def test_interceptors_run_for_calls(failing: FailingPod) -> None:
    """An interceptor sees a call once, and its outcome, whatever attempts that took."""
    seen: list[StatusCode] = []

    class Counting(grpc.aio.UnaryUnaryClientInterceptor):
        async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
            call = await continuation(client_call_details, request)
            seen.append(await call.code())
            return call

    async with balancing(failing.endpoint) as balancer:
        channel = PoolChannel(balancer, idempotent=True, interceptors=[Counting()])
        assert await unary(channel)(b"") == b"failing"
    assert (seen, failing.calls) == ([StatusCode.OK], 2)


async def test_nobody_to_call() -> None:
    """Where there is no backend the error says why, in a call of each form, and in its call object."""
    async with balancing() as balancer:
        balancer.update(view([]))
        channel: Any = PoolChannel(balancer)
        call = channel.unary_unary(METHOD)(b"")
        with pytest.raises(AioRpcError) as raised:
            await call
        assert raised.value.code() is StatusCode.UNAVAILABLE
        assert "the pool ns/who has no endpoint" in (raised.value.details() or "")
        assert (await call.code(), await call.details()) == (StatusCode.UNAVAILABLE, raised.value.details())
        assert len(await call.initial_metadata()) == len(await call.trailing_metadata()) == 0
        assert (call.done(), call.cancelled(), call.cancel()) == (True, False, False)
        for form in ("unary_stream", "stream_stream"):
            with pytest.raises(AioRpcError):
                await anext(aiter(getattr(channel, form)(METHOD)(_nothing() if form == "stream_stream" else b"")))
        talk = channel.stream_unary(METHOD)()
        with pytest.raises(AioRpcError):
            await talk
        with pytest.raises(asyncio.InvalidStateError):
            await talk.write(b"")


def _nothing() -> Iterator[bytes]:
    return iter(())


async def test_waits_while_the_pool_is_unknown() -> None:
    """A call that is made before the pool was read waits for it, within its time."""
    async with pods("a") as (a,), balancing() as balancer:
        call = unary(PoolChannel(balancer))
        with pytest.raises(AioRpcError) as raised:
            await call(b"", timeout=0.05)
        assert raised.value.code() is StatusCode.DEADLINE_EXCEEDED
        assert "without a list of its endpoints" in (raised.value.details() or "")
        waiting = asyncio.ensure_future(call(b"", timeout=10))
        balancer.update(view([a.endpoint]))
        assert await waiting == b"a"


async def test_wait_for_ready_waits_for_the_first_endpoint() -> None:
    """An empty pool is waited for by a call that may wait."""
    async with pods("a") as (a,), balancing() as balancer:
        balancer.update(view([]))
        waiting = asyncio.ensure_future(unary(PoolChannel(balancer))(b"", wait_for_ready=True, timeout=10))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        balancer.update(view([a.endpoint]))
        assert await waiting == b"a"


async def test_observer_is_told_of_calls() -> None:
    """Where somebody wants to know, calls under way are counted, and each end is told with its code."""
    async with pods("a") as (a,), balancing(a.endpoint) as balancer:
        (backend,) = balancer.backends
        codes: list[StatusCode] = []
        backend.observer = lambda _, call: codes.append(now(call.code()))
        a.held = asyncio.Event()
        waiting = asyncio.ensure_future(unary(PoolChannel(balancer))(b""))
        await a.called.wait()
        assert backend.active == 1
        a.held.set()
        await waiting
        assert (backend.active, codes) == (0, [StatusCode.OK])
        await settled(balancer)

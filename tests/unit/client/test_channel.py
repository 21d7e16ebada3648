"""What a pool's channel does that no other one does: many backends, retries, and nobody there."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc.aio
import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError

from backendpool.client._channel import PoolChannel
from backendpool.client._outcome import now
from greet.greet_pb2 import Greeting, GreetingRequest, GreetingResponse
from greet.greet_pb2_grpc import GreetServiceServicer, GreetServiceStub, add_GreetServiceServicer_to_server
from tests.unit.client.pods import (
    METHOD,
    FailingPod,
    balancing,
    initialized,
    pods,
    running,
    unary,
    view,
)


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
        assert len(call._method._multicallables) < 25


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
        (backend,) = balancer.subchannels
        codes: list[StatusCode] = []
        backend.observer = lambda _, call: codes.append(now(call.code()))
        a.held = asyncio.Event()
        waiting = asyncio.ensure_future(unary(PoolChannel(balancer))(b""))
        await a.called.wait()
        assert backend.active == 1
        a.held.set()
        await waiting
        assert (backend.active, codes) == (0, [StatusCode.OK])
        await initialized(balancer)

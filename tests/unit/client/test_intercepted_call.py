"""Interceptors on backend channels where grpc.aio has no equivalent behavior."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
from grpc import ChannelConnectivity, StatusCode
from grpc.aio import EOF, AioRpcError, ClientCallDetails

from backendpool.api.load_balancing import Policy
from backendpool.client import connect
from backendpool.client._balancer import Balancer
from backendpool.client._channel import PoolChannel
from backendpool.testing import FakePool
from tests.fakes.objects import pool_view
from tests.fakes.until import until
from tests.unit.client.instrumentation import add_interceptors, of_each_form, passed
from tests.unit.client.pods import (
    METHOD,
    FailingPod,
    Pod,
    balancing,
    connected,
    dead_endpoint,
    pods,
    silent_endpoint,
    unary,
)


class Gate:
    """An interceptor that holds calls before they are sent, until it is open."""

    def __init__(self) -> None:
        self.entered, self.opened, self.cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def intercept(self, continuation: Any, details: ClientCallDetails, request: Any) -> Any:
        self.entered.set()
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return await continuation(details, request)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    add_interceptors(monkeypatch, of_each_form(passed) + of_each_form(gate.intercept))
    return gate


async def test_cancelled_before_it_is_sent(gate: Gate) -> None:
    """A call held by an interceptor is cancelled at once and never sent."""
    async with pods("a") as (a,), balancing(a.endpoint) as balancer:
        call = unary(PoolChannel(balancer))(b"")
        told: list[object] = []
        call.add_done_callback(told.append)
        waiting = asyncio.ensure_future(call.code())
        await gate.entered.wait()
        assert (call.cancel(), call.cancel(), call.done(), call.cancelled()) == (True, False, True, True)
        assert told == [call]
        assert await waiting is StatusCode.CANCELLED
        await asyncio.wait_for(gate.cancelled.wait(), 10)
        gate.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert not a.called.is_set()


async def test_interceptor_that_ignores_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interceptor that ignores its cancellation cannot send the call afterwards."""
    entered, ended = asyncio.Event(), asyncio.Event()

    async def ignore(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            try:
                return await continuation(details, request)
            finally:
                ended.set()

    add_interceptors(monkeypatch, of_each_form(ignore))
    async with pods("a") as (a,), balancing(a.endpoint) as balancer:
        call = unary(PoolChannel(balancer))(b"")
        await entered.wait()
        call.cancel()
        assert await call.code() is StatusCode.CANCELLED
        await asyncio.wait_for(ended.wait(), 10)
        await asyncio.sleep(0.05)
        assert not a.called.is_set()


async def test_closed_before_it_is_sent(gate: Gate) -> None:
    """Closing the channel cancels calls that interceptors hold."""
    async with pods("a") as (a,), connect(listing(a)) as channel:
        call = unary(channel)(b"")
        await gate.entered.wait()
        await channel.close()
        assert call.cancelled()
        assert await call.code() is StatusCode.CANCELLED


async def test_channel_waits_for_interceptors(gate: Gate) -> None:
    """Within the grace, a call held by an interceptor may still be sent and answered."""
    async with pods("a") as (a,), connect(listing(a)) as channel:
        call = asyncio.ensure_future(_response(unary(channel)(b"")))
        await gate.entered.wait()
        closing = asyncio.create_task(channel.close(10))
        await asyncio.sleep(0.05)
        gate.opened.set()
        await asyncio.wait_for(closing, 5)
        assert await call == b"a"


async def _response(call: Any) -> bytes:
    response: bytes = await call
    return response


async def test_backend_that_leaves_before_a_call_is_sent(gate: Gate) -> None:
    """The call was not sent, so it is retried on another backend without any retry policy."""
    async with pods("a", "b") as (a, b):
        pool = listing(a)
        async with connect(pool, drain_timeout=0) as channel:
            await pool.wait_until_connected(channel)
            (backend,) = channel._balancer.subchannels
            call = asyncio.ensure_future(_response(unary(channel)(b"", timeout=10)))
            await gate.entered.wait()
            pool.set([b.endpoint])
            await until(lambda: backend.channel.get_state() is ChannelConnectivity.SHUTDOWN)
            gate.opened.set()
            assert await call == b"b"


async def test_backend_that_leaves_without_another(gate: Gate) -> None:
    """If there is no other backend, the error says that the call was not sent."""
    async with pods("a") as (a,):
        pool = listing(a)
        async with connect(pool, drain_timeout=0) as channel:
            await pool.wait_until_connected(channel)
            (backend,) = channel._balancer.subchannels
            call = unary(channel)(b"", timeout=10)
            asked = asyncio.ensure_future(call.details())
            await gate.entered.wait()
            pool.set([])
            await until(lambda: backend.channel.get_state() is ChannelConnectivity.SHUTDOWN)
            gate.opened.set()
            assert await asked == f"the backend ipv4:{a.endpoint.target} was removed before the call was sent"
            assert await call.code() is StatusCode.UNAVAILABLE


def listing(*listed: Pod) -> FakePool:
    pool = FakePool()
    pool.set(pod.endpoint for pod in listed)
    return pool


async def test_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts are in flight from when they are sent until they end; all of them and those that failed are counted."""

    async def wait(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
        call = await continuation(details, request)
        await call.code()
        return call

    add_interceptors(monkeypatch, of_each_form(wait))
    pod = FailingPod("failing")
    pod.held = asyncio.Event()
    await pod.start()
    async with connect(listing(pod), policy=Policy.LEAST_REQUEST, idempotent=True) as channel:
        call = asyncio.ensure_future(_response(unary(channel)(b"")))
        await pod.called.wait()
        (backend,) = channel.status().backends
        assert (backend.in_flight, backend.calls_started, backend.calls_failed) == (1, 2, 1)
        pod.held.set()
        assert await call == b"failing"
        (backend,) = channel.status().backends
        assert (backend.in_flight, backend.calls_started, backend.calls_failed) == (0, 2, 1)
    await pod.stop()


async def test_own_error_is_not_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is not gRPC's is raised at once, and does not count against the backend."""
    seen = 0

    async def refuse(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
        nonlocal seen
        seen += 1
        raise ValueError("not today")

    add_interceptors(monkeypatch, of_each_form(refuse))
    async with pods("a", "b") as (a, b), balancing(a.endpoint, b.endpoint) as balancer:
        channel = PoolChannel(balancer, idempotent=True)
        with pytest.raises(ValueError, match="not today"):
            await unary(channel)(b"", timeout=2)
        await asyncio.sleep(1.2)  # half of its timeout: the backend does not count as unresponsive
        status = channel.status()
        assert (seen, status.calls_started, status.calls_failed) == (1, 1, 0)
        assert [backend.connections for backend in status.backends] == [1, 1]


@pytest.mark.parametrize("before", [True, False])
async def test_slow_interceptor_is_no_stall(monkeypatch: pytest.MonkeyPatch, before: bool) -> None:
    """A backend is not reconnected if an interceptor takes long, before a call is sent or after it has ended."""

    async def take_time(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
        if before:
            await asyncio.sleep(1.3)
        call = await continuation(details, request)
        await call.code()
        if not before:
            await asyncio.sleep(1.3)
        return call

    add_interceptors(monkeypatch, of_each_form(take_time))
    async with pods("a") as (a,), connect(listing(a)) as channel:
        assert await unary(channel)(b"", timeout=2) == b"a"
        assert [backend.connections for backend in channel.status().backends] == [1]


async def test_metadata_does_not_accumulate(monkeypatch: pytest.MonkeyPatch, failing: FailingPod) -> None:
    """Metadata that an interceptor adds to an attempt is not in the next one."""
    seen: list[int] = []

    async def tag(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
        assert details.metadata is not None
        details.metadata.add("tag", "it")
        seen.append(len(details.metadata))
        return await continuation(details, request)

    add_interceptors(monkeypatch, of_each_form(tag))
    failing.failures = 2
    async with balancing(failing.endpoint) as balancer:
        given = grpc.aio.Metadata(("asked", "this"))
        assert await unary(PoolChannel(balancer, idempotent=True))(b"", metadata=given) == b"failing"
    assert (seen, len(given)) == ([2, 2, 2], 1)


@pytest.mark.parametrize("form", ["unary_stream", "stream_stream"])
async def test_responses_without_a_call(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """An interceptor may return responses without a call."""

    async def made() -> AsyncIterator[bytes]:
        yield b"x"
        yield b"y"

    async def answer(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
        return made()

    add_interceptors(monkeypatch, of_each_form(answer))
    async with pods("a") as (a,), balancing(a.endpoint) as balancer:
        make: Any = getattr(PoolChannel(balancer), form)(METHOD)
        request = b"" if form == "unary_stream" else [b""]
        call = make(request)
        assert [response async for response in call] == [b"x", b"y"]
        assert (await call.code(), call.done(), call.cancelled()) == (StatusCode.OK, True, False)
        call = make(request)
        assert [await call.read() for _ in range(3)] == [b"x", b"y", EOF]
        assert not a.called.is_set()


async def test_trailing_metadata_of_a_response(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interceptor that returns a response keeps the trailing metadata of the call that it has sent."""

    async def respond(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
        return await (await continuation(details, request))

    async def answer(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        context.set_trailing_metadata((("a", "b"),))
        return request

    add_interceptors(monkeypatch, of_each_form(respond))
    server = FakePool(lambda server: server.add_generic_rpc_handlers((_handlers(answer),)), count=1)
    async with server as pool, connect(pool) as channel:
        call = unary(channel)(b"x")
        assert (await call.trailing_metadata())["a"] == "b"
        assert await call == b"x"


def _handlers(answer: Any) -> Any:
    handler: Any = grpc.unary_unary_rpc_method_handler(answer)
    return grpc.method_handlers_generic_handler("test.Who", {"Are": handler})


async def test_written_requests_are_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a call was never sent, its retry repeats the written requests and done_writing."""

    async def wait(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
        call = await continuation(details, request)
        await call.code()
        return call

    async def join(requests: AsyncIterator[bytes], context: Any) -> bytes:
        return b",".join([request async for request in requests])

    add_interceptors(monkeypatch, of_each_form(wait, passed))
    handler: Any = grpc.stream_unary_rpc_method_handler(join)
    handlers = grpc.method_handlers_generic_handler("test.Who", {"Are": handler})
    server = FakePool(lambda server: server.add_generic_rpc_handlers((handlers,)), count=1)
    async with server as pool, dead_endpoint() as dead, balancing(*pool.endpoints, dead) as balancer:
        connected(balancer, dead.port)
        method: Any = PoolChannel(balancer).stream_unary(METHOD)
        for requests in ([b"x", b"y"], [b"x", b"y"], [], []):
            call = method()
            for request in requests:
                await call.write(request)
            await call.done_writing()
            assert await call == b",".join(requests)


@pytest.mark.parametrize("ended", [False, True])
async def test_write_to_a_call_that_fails(monkeypatch: pytest.MonkeyPatch, ended: bool) -> None:
    """Writing a request that cannot be sent raises the error of the call, and so does the end of requests."""
    add_interceptors(monkeypatch, of_each_form(passed))
    async with silent_endpoint() as silent:
        balancer = Balancer("ns/who")
        balancer.update(pool_view(silent))
        connected(balancer, silent.port)
        call: Any = PoolChannel(balancer).stream_unary(METHOD)(timeout=0.2)
        with pytest.raises(AioRpcError) as raised:
            await (call.done_writing() if ended else call.write(b"x"))
        assert raised.value.code() is await call.code() is StatusCode.DEADLINE_EXCEEDED
        await balancer.aclose(0)


async def test_connection_of_a_stream_that_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the connection ends with the call."""
    add_interceptors(monkeypatch, of_each_form(_sleeping_afterwards))
    async with dead_endpoint() as dead, balancing(dead) as balancer:
        connected(balancer, dead.port)
        call: Any = PoolChannel(balancer).stream_unary(METHOD)()
        waiting = asyncio.ensure_future(call.wait_for_connection())
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(waiting, 5)


async def _sleeping_afterwards(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
    call = await continuation(details, request)
    await asyncio.sleep(60)
    return call

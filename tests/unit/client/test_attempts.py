"""Calls that are made again, by another backend or by the same one, and those that must not be."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError

from backendpool.client.channel import PoolChannel
from backendpool.client.outcome import now
from tests.fakes.until import until
from tests.unit.client.pods import (
    METHOD,
    FailingPod,
    balancing,
    connected,
    dead_endpoint,
    pods,
    serving,
    unary,
    unary_stream,
)

pytestmark = pytest.mark.usefixtures("instrumentation")


def retries(**policy: Any) -> str:
    default = {
        "maxAttempts": 3,
        "initialBackoff": "0.001s",
        "maxBackoff": "0.001s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": {**default, **policy}}]})


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
            await until(call.done)
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
        await until(lambda: not (call.time_remaining() is not None or call._call is not None))
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

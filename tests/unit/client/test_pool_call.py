"""Calls over real servers that are retried, on another backend or the same one, and calls that must not be."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError

from backendpool.client._channel import PoolChannel
from backendpool.client._outcome import now
from backendpool.client._pool_call import ReplayableRequests
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
async def test_transparent_retry_goes_to_another_backend(wait_for_ready: bool) -> None:
    """A call that meets a lost connection is answered by another backend, without any retry policy."""
    async with pods("a") as (a,), dead_endpoint() as dead, balancing(a.endpoint, dead) as balancer:
        connected(balancer, dead.port)
        call = unary(PoolChannel(balancer))
        assert [await call(b"", wait_for_ready=wait_for_ready, timeout=10) for _ in range(4)] == [b"a"] * 4


async def test_transparent_retry_of_a_stream() -> None:
    """The first request of a stream is sent again, whether it comes from an iterator or is written."""
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


async def test_done_callbacks_run_after_the_last_attempt() -> None:
    """A done callback runs once the call has ended, not when an attempt has."""
    async with pods("a") as (a,), dead_endpoint() as dead, balancing(a.endpoint, dead) as balancer:
        connected(balancer, dead.port)
        for _ in range(2):
            told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            call = unary(PoolChannel(balancer))(b"")
            call.add_done_callback(told.set_result)
            assert await asyncio.wait_for(told, 10) is call
            assert now(call.code()) is StatusCode.OK


async def test_done_after_the_last_attempt() -> None:
    """Polling ``done()`` retries a failed attempt, and returns True once the call has ended."""
    async with pods("a") as (a,), dead_endpoint() as dead, balancing(a.endpoint, dead) as balancer:
        connected(balancer, dead.port)
        for _ in range(2):
            call = unary(PoolChannel(balancer))(b"")
            await until(call.done)
            assert now(call.code()) is StatusCode.OK


async def test_no_other_backend_for_a_transparent_retry() -> None:
    """The call fails with the error of the connection if there is no other backend."""
    async with dead_endpoint() as dead, balancing(dead) as balancer:
        connected(balancer, dead.port)
        with pytest.raises(AioRpcError) as raised:
            await unary(PoolChannel(balancer))(b"")
        assert raised.value.code() is StatusCode.UNAVAILABLE
        assert "Connection refused" in (raised.value.details() or "")


async def test_call_that_may_have_been_sent_is_not_retried(failing: FailingPod) -> None:
    """A call that a server has seen is not retried without a retry policy."""
    async with balancing(failing.endpoint) as balancer:
        assert await unary(PoolChannel(balancer))(b"").code() is StatusCode.UNAVAILABLE
        assert failing.calls == 1


@pytest.mark.parametrize("idempotent", [True, {METHOD}])
@pytest.mark.parametrize("code", [StatusCode.UNAVAILABLE, StatusCode.CANCELLED])
async def test_idempotent_call_is_retried_on_another_backend(
    failing: FailingPod, idempotent: Any, code: StatusCode
) -> None:
    """An idempotent call is retried on a backend that has not failed it."""
    failing.failures, failing.code = 100, code
    async with pods("a") as (a,), balancing(a.endpoint, failing.endpoint) as balancer:
        call = unary(PoolChannel(balancer, idempotent=idempotent))
        assert [await call(b"") for _ in range(6)] == [b"a"] * 6
        assert failing.calls > 0


async def test_only_methods_named_idempotent(failing: FailingPod) -> None:
    """If idempotent methods are named, the others are not retried."""
    async with balancing(failing.endpoint) as balancer:
        call = unary(PoolChannel(balancer, idempotent={"/test.Who/Else"}))
        assert await call(b"").code() is StatusCode.UNAVAILABLE


async def test_service_config_sets_attempts(failing: FailingPod) -> None:
    """A retryPolicy bounds the attempts, and the call fails with the last error."""
    failing.failures = 100
    async with balancing(failing.endpoint) as balancer:
        call = unary(PoolChannel(balancer, service_config=retries()))
        assert await call(b"").code() is StatusCode.UNAVAILABLE
        assert failing.calls == 3
        failing.failures = failing.calls + 2
        assert await call(b"") == b"failing"


async def test_throttle_is_shared_by_the_channel(failing: FailingPod) -> None:
    """After too many failures of any multicallable, no call is retried."""
    failing.failures = 100
    config = json.loads(retries()) | {"retryThrottling": {"maxTokens": 8, "tokenRatio": 0.1}}
    async with balancing(failing.endpoint) as balancer:
        channel = PoolChannel(balancer, service_config=json.dumps(config))
        for _ in range(3):
            assert await unary(channel)(b"").code() is StatusCode.UNAVAILABLE
    # The fourth failure leaves half of the tokens: three attempts, then one and one again.
    assert failing.calls == 3 + 1 + 1


async def test_no_retry_after_the_deadline(failing: FailingPod) -> None:
    """A call fails at once if its deadline would be over before the backoff."""
    slow = retries(initialBackoff="60s", maxBackoff="60s")
    async with balancing(failing.endpoint) as balancer, asyncio.timeout(10):
        call = unary(PoolChannel(balancer, service_config=slow))
        assert await call(b"", timeout=20).code() is StatusCode.UNAVAILABLE
    assert failing.calls == 1


async def test_cancelled_between_attempts(failing: FailingPod) -> None:
    """A call that waits for its next attempt can be cancelled, and is not retried."""
    slow = retries(initialBackoff="60s", maxBackoff="60s")
    async with balancing(failing.endpoint) as balancer, asyncio.timeout(10):
        call = unary(PoolChannel(balancer, service_config=slow))(b"")
        waiting = asyncio.ensure_future(call.code())
        await until(lambda: not (call.time_remaining() is not None or call._attempt is not None))
        assert (call.done(), call.cancel(), call.done()) == (False, True, True)
        assert await waiting is StatusCode.CANCELLED
        assert failing.calls == 1


async def test_committed_stream_is_not_retried() -> None:
    """A stream is not retried after its first response, even if it is idempotent."""
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


async def test_stream_whose_requests_are_spent_is_not_retried() -> None:
    """A stream is not retried once more than its first request was taken, since the others cannot be sent again."""
    got: list[list[bytes]] = []

    async def read_and_fail(stream: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        got.append([await anext(stream), await anext(stream)])
        await context.abort(StatusCode.UNAVAILABLE, "not now")

    handler: Any = grpc.stream_unary_rpc_method_handler(read_and_fail)
    async with serving(handler) as endpoint, balancing(endpoint) as balancer:
        channel: Any = PoolChannel(balancer, idempotent=True)
        assert await channel.stream_unary(METHOD)(iter([b"x", b"y"])).code() is StatusCode.UNAVAILABLE
    assert got == [[b"x", b"y"]]


async def test_first_request_is_replayed() -> None:
    """A second reader gets all requests if the first one took only one."""
    requests = ReplayableRequests([1, 2, 3])
    assert await anext(aiter(requests)) == 1
    assert not requests.spent
    assert [request async for request in requests] == [1, 2, 3]


async def test_spent_with_the_second_request() -> None:
    """Taking the second request spends the stream."""
    requests = ReplayableRequests([1, 2])
    reader = aiter(requests)
    await anext(reader)
    await anext(reader)
    assert requests.spent


async def test_two_readers_wait_for_one_request() -> None:
    """The reader of a failed attempt may still wait for the first request, and shares it with the next one."""
    came = asyncio.Event()

    async def source() -> AsyncIterator[int]:
        await came.wait()
        yield 1

    requests = ReplayableRequests(source())
    readers = [asyncio.ensure_future(anext(aiter(requests))) for _ in range(2)]
    await asyncio.sleep(0)
    came.set()
    assert await asyncio.gather(*readers) == [1, 1]


async def test_no_requests() -> None:
    """An empty stream is empty for the second reader too."""
    requests: ReplayableRequests[int] = ReplayableRequests(())
    for _ in range(2):
        assert [request async for request in requests] == []

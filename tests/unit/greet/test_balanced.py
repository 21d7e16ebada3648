"""Hedging of stalled calls: which answer is used, and that the other call is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any, cast

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata
from prometheus_client import CollectorRegistry

from backendpool.client import PoolCall, PoolChannel
from greet.gateway.metrics import GatewayMetrics
from greet.gateway.modes import BalancedGreeter
from greet.greet_pb2 import GreetingResponse
from tests.unit.greet.servers import REQUEST


class Call(PoolCall):
    """A call that a test can answer or let stall."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.answer: asyncio.Future[GreetingResponse] = asyncio.get_running_loop().create_future()
        self.stalled: Callable[[PoolCall], object] = lambda _: None

    def on_stall(self, callback: Callable[[PoolCall], object]) -> None:
        self.stalled = callback

    def __await__(self) -> Generator[Any, None, GreetingResponse]:
        return self.answer.__await__()

    def cancel(self) -> bool:
        return self.answer.cancel()

    def time_remaining(self) -> float:
        return self.timeout / 2


class Channel:
    """A channel that records its calls."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def unary_unary(self, *_: object, **__: object) -> Callable[..., Call]:
        def call(request: object, timeout: float) -> Call:
            self.calls.append(Call(timeout))
            return self.calls[-1]

        return call

    async def stall(self, number: int) -> None:
        self.calls[number].stalled(self.calls[number])
        await asyncio.sleep(0)


@pytest.fixture
def channel() -> Channel:
    return Channel()


async def greeting(channel: Channel) -> asyncio.Task[GreetingResponse]:
    """Start a greeting that has called its first backend, with a timeout of 8 s."""
    greeter = BalancedGreeter(cast("PoolChannel", channel), GatewayMetrics(CollectorRegistry()))
    task = asyncio.create_task(greeter.greet(REQUEST, 8.0))
    await asyncio.sleep(0)
    return task


def error(code: StatusCode) -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata())


def by(name: str) -> GreetingResponse:
    return GreetingResponse(Result=name)


async def test_call_that_is_answered_is_not_hedged(channel: Channel) -> None:
    task = await greeting(channel)
    channel.calls[0].answer.set_result(by("first"))
    assert await task == by("first")
    assert len(channel.calls) == 1


async def test_second_answer_counts_and_ends_the_first_call(channel: Channel) -> None:
    task = await greeting(channel)
    await channel.stall(0)
    assert [call.timeout for call in channel.calls] == [8.0, 4.0]
    channel.calls[1].answer.set_result(by("second"))
    assert await task == by("second")
    assert channel.calls[0].answer.cancelled()


async def test_first_answer_counts_and_ends_the_second_call(channel: Channel) -> None:
    task = await greeting(channel)
    await channel.stall(0)
    channel.calls[0].answer.set_result(by("first"))
    assert await task == by("first")
    await asyncio.sleep(0)
    assert channel.calls[1].answer.cancelled()


async def test_second_answer_counts_after_the_first_call_fails(channel: Channel) -> None:
    task = await greeting(channel)
    await channel.stall(0)
    channel.calls[0].answer.set_exception(error(StatusCode.UNAVAILABLE))
    await asyncio.sleep(0)
    channel.calls[1].answer.set_result(by("second"))
    assert await task == by("second")


async def test_first_answer_counts_after_the_second_call_fails(
    channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    task = await greeting(channel)
    await channel.stall(0)
    channel.calls[1].answer.set_exception(error(StatusCode.UNAVAILABLE))
    await asyncio.sleep(0)
    channel.calls[0].answer.set_result(by("first"))
    assert await task == by("first")
    assert not caplog.records


async def test_three_backends_are_tried_at_most(channel: Channel) -> None:
    task = await greeting(channel)
    for number in range(3):
        await channel.stall(number)
    assert [call.timeout for call in channel.calls] == [8.0, 4.0, 2.0]
    channel.calls[2].answer.set_result(by("third"))
    assert await task == by("third")
    assert all(call.answer.cancelled() for call in channel.calls[:2])


async def test_cancelled_greeting_cancels_all_calls(channel: Channel) -> None:
    task = await greeting(channel)
    await channel.stall(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert all(call.answer.cancelled() for call in channel.calls)

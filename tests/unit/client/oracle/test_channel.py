"""The channel: its state, closing, and calls in flight when it closes."""

import asyncio

import grpc.aio
import pytest
from grpc import ChannelConnectivity, StatusCode
from grpc.aio import UsageError

from tests.unit.client.oracle.conftest import Connect
from tests.unit.client.oracle.service import Service, Stub


async def until(channel: grpc.aio.Channel, wanted: ChannelConnectivity) -> None:
    async with asyncio.timeout(10):
        while (state := channel.get_state(try_to_connect=True)) is not wanted:
            await channel.wait_for_state_change(state)


async def test_ready(channel: grpc.aio.Channel) -> None:
    """A channel becomes ready without a call."""
    await asyncio.wait_for(channel.channel_ready(), 10)
    assert channel.get_state() is ChannelConnectivity.READY
    await asyncio.wait_for(channel.channel_ready(), 10)


async def test_state_that_is_old(channel: grpc.aio.Channel) -> None:
    """Waiting for a change from a state that is already outdated returns at once."""
    await channel.channel_ready()
    await asyncio.wait_for(channel.wait_for_state_change(ChannelConnectivity.SHUTDOWN), 10)


async def test_nobody_there(connect: Connect) -> None:
    """A channel without a server reports a failure, and becomes ready once a server starts."""
    service = Service()
    async with service.serving():
        port = service.port
    channel = await connect(port)
    await until(channel, ChannelConnectivity.TRANSIENT_FAILURE)
    async with service.serving(port):
        await until(channel, ChannelConnectivity.READY)


async def test_closed(channel: grpc.aio.Channel) -> None:
    """A closed channel is in state SHUTDOWN, rejects calls of every form, and may be closed again."""
    stub = Stub(channel)
    await channel.close()
    await channel.close(1.0)
    assert channel.get_state() is ChannelConnectivity.SHUTDOWN
    for method in (stub.echo, stub.count):
        with pytest.raises(UsageError, match="Channel is closed"):
            method(b"")
    for stream in (stub.join, stub.mirror):
        with pytest.raises(UsageError, match="Channel is closed"):
            stream()


async def test_closing_wakes_who_watches(channel: grpc.aio.Channel) -> None:
    """Closing wakes tasks that wait for a change of state."""
    await channel.channel_ready()
    watching = asyncio.create_task(channel.wait_for_state_change(ChannelConnectivity.READY))
    await asyncio.sleep(0)
    await channel.close()
    await asyncio.wait_for(watching, 10)
    assert channel.get_state() is ChannelConnectivity.SHUTDOWN


async def test_watching_a_closed_channel(channel: grpc.aio.Channel) -> None:
    """A closed channel has no further changes of state."""
    await channel.close()
    with pytest.raises(UsageError):
        await channel.wait_for_state_change(ChannelConnectivity.READY)


async def test_close_cancels(channel: grpc.aio.Channel, service: Service) -> None:
    """Without a grace, closing cancels calls in flight."""
    stub = Stub(channel)
    unary, stream = stub.hold(b""), stub.one_and_hold(b"")
    await stream.read()
    await service.entered.wait()
    await channel.close()
    assert (unary.cancelled(), stream.cancelled()) == (True, True)
    assert await unary.code() is StatusCode.CANCELLED
    with pytest.raises(asyncio.CancelledError):
        await unary


async def test_close_with_a_grace(channel: grpc.aio.Channel, service: Service) -> None:
    """Calls in flight may finish within the grace, and new calls are rejected."""
    stub = Stub(channel)
    call = stub.hold(b"x")
    waiting = asyncio.ensure_future(call.code())
    await service.entered.wait()
    closing = asyncio.create_task(channel.close(10.0))
    await asyncio.sleep(0.05)
    assert not closing.done()
    with pytest.raises(UsageError):
        stub.echo(b"")
    service.released.set()
    await asyncio.wait_for(closing, 5)
    assert (await waiting, await call) == (StatusCode.OK, b"x")


async def test_grace_that_is_over(channel: grpc.aio.Channel, service: Service) -> None:
    """Calls that outlast the grace are cancelled."""
    call = Stub(channel).hold(b"")
    waiting = asyncio.ensure_future(call.code())
    await service.entered.wait()
    await channel.close(0.1)
    assert await waiting is StatusCode.CANCELLED


async def test_call_that_was_just_made(channel: grpc.aio.Channel) -> None:
    """Closing also cancels calls that are not sent yet."""
    call = Stub(channel).echo(b"")
    await channel.close()
    assert call.cancelled()


async def test_context_manager(connect: Connect, service: Service) -> None:
    """Leaving the context closes the channel."""
    async with await connect(service.port) as channel:
        assert await Stub(channel).echo(b"x") == b"x"
    assert channel.get_state() is ChannelConnectivity.SHUTDOWN


async def test_negative_grace(channel: grpc.aio.Channel) -> None:
    """A negative grace is an error."""
    with pytest.raises(ValueError, match="grace"):
        await channel.close(-1)

"""Unary calls: outcomes, metadata, deadlines, cancellation."""

import asyncio
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata, UsageError

from tests.unit.client.oracle.conftest import Connect
from tests.unit.client.oracle.service import Service, Stub


async def test_response(stub: Stub) -> None:
    """A call may be awaited more than once, and then is done with OK."""
    call = stub.echo(b"x")
    assert not call.done()
    assert await call == b"x"
    assert await call == b"x"
    assert (call.done(), call.cancelled(), call.cancel()) == (True, False, False)
    assert (await call.code(), await call.details()) == (StatusCode.OK, "")


async def test_is_a_call_of_grpcs(stub: Stub) -> None:
    """Calls and multicallables are instances of grpc.aio's classes."""
    assert isinstance(stub.echo, grpc.aio.UnaryUnaryMultiCallable)
    assert isinstance(stub.mirror, grpc.aio.StreamStreamMultiCallable)
    call = stub.echo(b"x")
    assert isinstance(call, grpc.aio.UnaryUnaryCall)
    assert isinstance(call, grpc.aio.Call)
    await call


@pytest.mark.parametrize("metadata", [(("asked", "this"),), [("asked", "this")], Metadata(("asked", "this"))])
async def test_metadata(stub: Stub, service: Service, metadata: Any) -> None:
    """Metadata reaches the server in every accepted form, and initial and trailing metadata come back."""
    call = stub.echo(b"x", metadata=metadata)
    assert (await call.initial_metadata())["leading"] == "first"
    trailing = await call.trailing_metadata()
    assert (trailing["trailing"], trailing["raw-bin"]) == ("last", b"\x00\xff")
    assert service.metadata["asked"] == "this"


async def test_outcome_without_awaiting(stub: Stub) -> None:
    """Waiting for the code, instead of the response, also completes the call."""
    call = stub.echo(b"x")
    assert await call.code() is StatusCode.OK
    assert call.done()
    assert await call == b"x"


async def test_abort(stub: Stub) -> None:
    """The error and the call both have the code, details and trailing metadata of a server error."""
    call = stub.fail(b"x")
    with pytest.raises(AioRpcError) as raised:
        await call
    error = raised.value
    assert (error.code(), error.details()) == (StatusCode.FAILED_PRECONDITION, "not so")
    assert (error.trailing_metadata()["why"], len(error.initial_metadata())) == ("because", 0)
    assert (await call.code(), await call.details()) == (StatusCode.FAILED_PRECONDITION, "not so")
    assert (await call.trailing_metadata())["why"] == "because"
    assert (call.done(), call.cancelled()) == (True, False)


async def test_unimplemented(stub: Stub) -> None:
    """A method that the server does not have fails with UNIMPLEMENTED."""
    with pytest.raises(AioRpcError) as raised:
        await stub.missing(b"")
    assert (raised.value.code(), raised.value.details()) == (StatusCode.UNIMPLEMENTED, "Method not found!")


async def test_timeout(stub: Stub) -> None:
    """A call that exceeds its deadline fails with DEADLINE_EXCEEDED."""
    call = stub.hold(b"", timeout=0.2)
    assert 0 < call.time_remaining() <= 0.2
    with pytest.raises(AioRpcError) as raised:
        await call
    assert raised.value.code() is StatusCode.DEADLINE_EXCEEDED
    assert (await call.code(), call.cancelled()) == (StatusCode.DEADLINE_EXCEEDED, False)


async def test_no_timeout(stub: Stub) -> None:
    """A call without a timeout has no remaining time."""
    call = stub.echo(b"")
    assert call.time_remaining() is None
    await call


async def test_cancel_at_once(stub: Stub) -> None:
    """A call that is cancelled before it is sent is cancelled; a second cancel returns False."""
    call = stub.hold(b"")
    assert (call.cancel(), call.cancel()) == (True, False)
    assert (call.cancelled(), call.done()) == (True, True)
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await call.code(), await call.details()) == (StatusCode.CANCELLED, "Locally cancelled by application!")


async def test_cancel_under_way(stub: Stub, service: Service) -> None:
    """Cancelling a call in flight cancels it on the server."""
    call = stub.hold(b"")
    waiting = asyncio.ensure_future(call.code())
    await service.entered.wait()
    assert call.cancel()
    assert await waiting is StatusCode.CANCELLED
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.wait_for(service.ended.wait(), 5)


async def test_cancelled_with_the_task(stub: Stub, service: Service) -> None:
    """Cancelling a task that awaits a call cancels the call."""
    call = stub.hold(b"")

    async def wait() -> None:
        await call

    task = asyncio.create_task(wait())
    await service.entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await call.code() is StatusCode.CANCELLED
    await asyncio.wait_for(service.ended.wait(), 5)


async def test_asking_for_the_code_holds_nothing(stub: Stub, service: Service) -> None:
    """Cancelling a task that waits for the code does not cancel the call."""
    call = stub.hold(b"x")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call.code(), 0.05)
    service.released.set()
    assert await call == b"x"


async def test_done_callbacks(stub: Stub) -> None:
    """Callbacks get the call when it is done, before its awaiter resumes; late callbacks run at once."""
    told: list[tuple[object, bool]] = []
    call = stub.echo(b"")
    call.add_done_callback(lambda ended: told.append((ended, ended.done())))
    call.add_done_callback(lambda ended: told.append((ended, ended.done())))
    assert not told
    await call
    assert told == [(call, True)] * 2
    call.add_done_callback(lambda ended: told.append((ended, ended.done())))
    assert told == [(call, True)] * 3


async def test_done_callbacks_of_failed_calls(stub: Stub) -> None:
    """Callbacks run for failed and cancelled calls too."""
    told: list[str] = []
    failed, cancelled = stub.fail(b""), stub.hold(b"")
    failed.add_done_callback(lambda _: told.append("failed"))
    cancelled.add_done_callback(lambda _: told.append("cancelled"))
    assert await failed.code() is StatusCode.FAILED_PRECONDITION
    cancelled.cancel()
    assert await cancelled.code() is StatusCode.CANCELLED
    assert told == ["failed", "cancelled"]


async def test_wait_for_connection(stub: Stub) -> None:
    """wait_for_connection waits for the connection and raises if the call failed."""
    call = stub.echo(b"x")
    await call.wait_for_connection()
    assert await call == b"x"
    with pytest.raises(AioRpcError):
        await stub.fail(b"").wait_for_connection()


@pytest.mark.parametrize("compression", list(grpc.Compression))
async def test_compression(stub: Stub, compression: grpc.Compression) -> None:
    """Requests may be compressed."""
    assert await stub.echo(b"x" * 5000, compression=compression) == b"x" * 5000


async def test_serializers(channel: grpc.aio.Channel) -> None:
    """Each multicallable uses its own serializers, even for the same method."""
    upper: Any = channel.unary_unary("/oracle.All/Echo", lambda text: text.upper().encode(), bytes.decode)
    raw: Any = channel.unary_unary("/oracle.All/Echo")
    assert (await upper("x"), await raw(b"x")) == ("X", b"x")


async def test_response_that_cannot_be_read(channel: grpc.aio.Channel) -> None:
    """A response whose deserializer fails is None, and the status is OK."""
    method: Any = channel.unary_unary("/oracle.All/Echo", None, lambda _: 1 / 0)
    call = method(b"")
    assert (await call, await call.code()) == (None, StatusCode.OK)


async def test_no_server(connect: Connect) -> None:
    """Without a server, calls fail with UNAVAILABLE."""
    channel = await connect(1)
    with pytest.raises(AioRpcError) as raised:
        await Stub(channel).echo(b"", timeout=10)
    assert raised.value.code() is StatusCode.UNAVAILABLE


async def test_wait_for_ready(connect: Connect) -> None:
    """A call with wait_for_ready is answered by a server that starts later."""
    service = Service()
    async with service.serving():
        port = service.port
    call = Stub(await connect(port)).echo(b"x", wait_for_ready=True, timeout=20)
    await asyncio.sleep(0.1)
    assert not call.done()
    async with service.serving(port):
        assert await call == b"x"


async def test_wait_for_ready_in_vain(connect: Connect) -> None:
    """A call with wait_for_ready and no server fails at its deadline."""
    call = Stub(await connect(1)).echo(b"x", wait_for_ready=True, timeout=0.3)
    assert await call.code() is StatusCode.DEADLINE_EXCEEDED
    with pytest.raises(AioRpcError):
        await call


async def test_credentials_need_a_secure_channel(stub: Stub) -> None:
    """Call credentials are rejected on a plaintext connection."""
    with pytest.raises(UsageError, match="only valid on secure channels"):
        await stub.echo(b"", credentials=grpc.access_token_call_credentials("secret"))

"""Streams of requests, responses, or both, by iteration and by read and write."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from grpc import StatusCode
from grpc.aio import EOF, AioRpcError, UsageError

from tests.fakes.until import until
from tests.unit.client.oracle.conftest import Connect
from tests.unit.client.oracle.service import Service, Stub


async def requests(*items: bytes) -> AsyncIterator[bytes]:
    for item in items:
        await asyncio.sleep(0)
        yield item


async def all_of(call: Any) -> list[bytes]:
    return [response async for response in call]


async def until_error(call: Any) -> tuple[list[bytes], AioRpcError]:
    """Return the responses, and the error after them."""
    got: list[bytes] = []
    try:
        async for response in call:
            got.append(response)  # noqa: PERF401 (what came before the error is wanted)
    except AioRpcError as error:
        return got, error
    raise AssertionError("no error")


async def test_responses_by_iteration(stub: Stub) -> None:
    """Responses arrive in order, and the call then has status OK."""
    call = stub.count(b"3")
    assert await all_of(call) == [b"0", b"1", b"2"]
    assert (await call.code(), call.done()) == (StatusCode.OK, True)
    assert await all_of(call) == []


async def test_responses_by_read(stub: Stub) -> None:
    """read returns the responses one by one, and EOF forever after the last."""
    call = stub.count(b"2")
    assert [await call.read() for _ in range(4)] == [b"0", b"1", EOF, EOF]
    assert await call.code() is StatusCode.OK


async def test_no_responses(stub: Stub) -> None:
    """A stream may end without a response."""
    assert await all_of(stub.count(b"0")) == []
    assert await stub.count(b"0").read() is EOF


async def test_styles_do_not_mix(stub: Stub) -> None:
    """Mixing read and iteration is an error."""
    reading = stub.count(b"3")
    await reading.read()
    with pytest.raises(UsageError):
        await all_of(reading)
    iterating = stub.count(b"3")
    async for _ in iterating:
        break
    with pytest.raises(UsageError):
        await iterating.read()


async def test_error_after_responses(stub: Stub) -> None:
    """Responses before an error are delivered, then the error."""
    got, error = await until_error(stub.count_and_fail(b"2"))
    assert (got, error.code(), error.details()) == ([b"0", b"1"], StatusCode.DATA_LOSS, "no more")
    reading = stub.count_and_fail(b"1")
    assert await reading.read() == b"0"
    with pytest.raises(AioRpcError):
        await reading.read()


async def test_error_before_responses(stub: Stub) -> None:
    """An error without a response is raised at the first iteration or read."""
    with pytest.raises(AioRpcError):
        await all_of(stub.count_and_fail(b"0"))
    with pytest.raises(AioRpcError):
        await stub.count_and_fail(b"0").read()


async def test_cancel_between_responses(stub: Stub, service: Service) -> None:
    """Cancelling a stream ends it on both sides."""
    call = stub.one_and_hold(b"x")
    assert await call.read() == b"x"
    assert (call.cancel(), call.cancel()) == (True, False)
    with pytest.raises(asyncio.CancelledError):
        await call.read()
    assert (await call.code(), call.cancelled()) == (StatusCode.CANCELLED, True)


async def test_cancelled_with_the_task(stub: Stub, service: Service) -> None:
    """Cancelling a task that waits for a response cancels the call."""
    call = stub.one_and_hold(b"x")
    got: list[bytes] = []

    async def read() -> None:
        async for response in call:
            got.append(response)  # noqa: PERF401  # each as it comes

    task = asyncio.create_task(read())
    async with asyncio.timeout(20):
        # Not while the first one arrives: grpc.aio may lose a cancellation that comes with a response.
        await until(lambda: got)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await call.code() is StatusCode.CANCELLED
        await service.ended.wait()


async def test_cancel_before_responses(stub: Stub) -> None:
    """A stream that is cancelled at once yields no response."""
    call = stub.count(b"3")
    assert call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await all_of(call)
    assert await call.code() is StatusCode.CANCELLED


async def test_stream_timeout(stub: Stub) -> None:
    """A stream that exceeds its deadline ends with DEADLINE_EXCEEDED after the responses that arrived."""
    got, error = await until_error(stub.one_and_hold(b"x", timeout=0.3))
    assert (got, error.code()) == ([b"x"], StatusCode.DEADLINE_EXCEEDED)


@pytest.mark.parametrize("items", [[], [b"a"], [b"a", b"b", b"c"]])
async def test_requests_from_iterators(stub: Stub, items: list[bytes]) -> None:
    """Requests are read to the end from sync and async iterators."""
    joined = b",".join(items)
    assert await stub.join(requests(*items)) == joined
    assert await stub.join(iter(items)) == joined
    assert await stub.join(items) == joined


async def test_requests_by_write(stub: Stub) -> None:
    """Requests are written one by one; done_writing may be called more than once."""
    call = stub.join()
    await call.write(b"a")
    await call.write(b"b")
    await call.done_writing()
    await call.done_writing()
    assert await call == b"a,b"
    with pytest.raises(asyncio.InvalidStateError):
        await call.write(b"c")


async def test_no_write_after_the_end(stub: Stub) -> None:
    """Writing after done_writing is an error."""
    call = stub.join()
    await call.done_writing()
    with pytest.raises(asyncio.InvalidStateError):
        await call.write(b"c")
    assert await call == b""


async def test_no_write_beside_an_iterator(stub: Stub) -> None:
    """Writing is an error if the call has an iterator of requests."""
    call = stub.join(requests(b"a"))
    with pytest.raises(UsageError):
        await call.write(b"b")
    with pytest.raises(UsageError):
        await call.done_writing()
    assert await call == b"a"


async def test_iterator_that_raises(stub: Stub) -> None:
    """If the iterator of requests raises, the call is cancelled."""

    async def failing() -> AsyncIterator[bytes]:
        yield b"a"
        raise RuntimeError("no more")

    call = stub.join(failing())
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await call.code() is StatusCode.CANCELLED


async def test_plain_iterator_that_raises(stub: Stub) -> None:
    """The same holds for the first request of a sync iterator."""

    def failing() -> Iterator[bytes]:
        raise RuntimeError("none")
        yield b""

    with pytest.raises(asyncio.CancelledError):
        await stub.join(failing())


async def test_server_that_does_not_read_on(stub: Stub) -> None:
    """A response may arrive before all requests are read."""
    call = stub.first()
    await call.write(b"a")
    assert await call == b"a"
    assert await call.code() is StatusCode.OK


async def test_both_by_iteration(stub: Stub) -> None:
    """In a bidirectional stream, each request is answered."""
    assert await all_of(stub.mirror(requests(b"a", b"b"))) == [b"a", b"b"]


async def test_both_by_read_and_write(stub: Stub) -> None:
    """A conversation alternates write and read."""
    call = stub.mirror()
    for word in (b"a", b"b"):
        await call.write(word)
        assert await call.read() == word
    await call.done_writing()
    assert await call.read() is EOF
    assert (await call.code(), call.done()) == (StatusCode.OK, True)


async def test_cancel_conversation(stub: Stub) -> None:
    """After cancelling a bidirectional stream, neither read nor write works."""
    call = stub.mirror()
    await call.write(b"a")
    assert await call.read() == b"a"
    assert call.cancel()
    with pytest.raises(asyncio.InvalidStateError):
        await call.write(b"b")
    with pytest.raises(asyncio.CancelledError):
        await call.read()
    assert await call.code() is StatusCode.CANCELLED


async def test_cancelled_while_reading(stub: Stub) -> None:
    """Cancelling a task that reads cancels the call."""
    call = stub.mirror()
    await call.write(b"a")
    await call.read()
    task = asyncio.ensure_future(call.read())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await call.code() is StatusCode.CANCELLED


async def test_connection_of_streams(stub: Stub) -> None:
    """wait_for_connection works for streams of all forms."""
    for call in (stub.count(b"1"), stub.join(), stub.mirror()):
        await call.wait_for_connection()
        assert not call.cancelled()
        call.cancel()


async def test_done_callbacks_of_streams(stub: Stub) -> None:
    """Callbacks get the call once its last response is read."""
    told: list[object] = []
    call = stub.mirror(requests(b"a"))
    call.add_done_callback(told.append)
    await all_of(call)
    assert await call.code() is StatusCode.OK
    assert told == [call]


async def test_streams_wait_for_ready(connect: Connect) -> None:
    """A bidirectional stream with wait_for_ready waits for a server that starts later."""
    service = Service()
    async with service.serving():
        port = service.port
    call = Stub(await connect(port)).mirror(requests(b"a", b"b"), wait_for_ready=True, timeout=20)
    await asyncio.sleep(0.1)
    async with service.serving(port):
        assert await all_of(call) == [b"a", b"b"]

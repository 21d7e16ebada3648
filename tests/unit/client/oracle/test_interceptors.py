"""Client interceptors of each form."""

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError, ClientCallDetails, Metadata

from tests.unit.client.oracle.conftest import Connect
from tests.unit.client.oracle.service import Service, Stub


def tagged(details: ClientCallDetails) -> ClientCallDetails:
    metadata = Metadata(*(details.metadata or ()), ("tag", "it"))
    return ClientCallDetails(details.method, details.timeout, metadata, details.credentials, details.wait_for_ready)


class Seen:
    """An interceptor that records details and adds metadata."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, float | None]] = []

    async def pass_on(self, continuation: Any, details: ClientCallDetails, request: Any) -> Any:
        self.calls.append((details.method, details.timeout))
        return await continuation(tagged(details), request)


class UnaryUnary(Seen, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self.pass_on(continuation, client_call_details, request)


class UnaryStream(Seen, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self.pass_on(continuation, client_call_details, request)


class StreamUnary(Seen, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await self.pass_on(continuation, client_call_details, request_iterator)


class StreamStream(Seen, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await self.pass_on(continuation, client_call_details, request_iterator)


class Answering(grpc.aio.UnaryUnaryClientInterceptor):
    """An interceptor that answers without calling."""

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return b"mine"


class Shouting(grpc.aio.UnaryStreamClientInterceptor):
    """An interceptor that changes responses."""

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        call = await continuation(client_call_details, request)

        async def louder() -> AsyncIterator[bytes]:
            async for response in call:
                yield response + b"!"

        return louder()


class Redirecting(grpc.aio.UnaryUnaryClientInterceptor):
    """An interceptor that calls another method."""

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        details: Any = client_call_details
        return await continuation(details._replace(method=b"/oracle.All/Fail"), request)


async def test_unary_unary(connect: Connect, service: Service) -> None:
    """Interceptors run in the given order, see a call, and may change its metadata."""
    first, second = UnaryUnary(), UnaryUnary()
    stub = Stub(await connect(service.port, [first, second]))
    call = stub.echo(b"x", timeout=5)
    assert await call == b"x"
    assert first.calls == second.calls == [(b"/oracle.All/Echo", 5)]
    assert service.metadata["tag"] == "it"
    assert (await call.trailing_metadata())["trailing"] == "last"
    assert (await call.initial_metadata())["leading"] == "first"
    assert (call.done(), await call.code()) == (True, StatusCode.OK)


async def test_streams(connect: Connect, service: Service) -> None:
    """Each form has its own kind of interceptor and skips the others."""
    seen = [UnaryUnary(), UnaryStream(), StreamUnary(), StreamStream()]
    stub = Stub(await connect(service.port, seen))
    assert [response async for response in stub.count(b"2")] == [b"0", b"1"]
    assert await stub.join(iter([b"a", b"b"])) == b"a,b"
    assert [response async for response in stub.mirror(iter([b"a", b"b"]))] == [b"a", b"b"]
    assert [len(one.calls) for one in seen] == [0, 1, 1, 1]


async def test_reading_and_writing(connect: Connect, service: Service) -> None:
    """read and write work through interceptors."""
    call = Stub(await connect(service.port, [StreamStream()])).mirror()
    await call.write(b"a")
    assert await call.read() == b"a"
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is StatusCode.OK


async def test_answer_of_its_own(connect: Connect, service: Service) -> None:
    """A response that an interceptor returns is the response; no call is sent."""
    stub = Stub(await connect(service.port, [Answering()]))
    assert await stub.echo(b"x") == b"mine"
    assert service.metadata == {}


async def test_responses_of_its_own(connect: Connect, service: Service) -> None:
    """An interceptor may change each response."""
    stub = Stub(await connect(service.port, [Shouting()]))
    assert [response async for response in stub.count(b"2")] == [b"0!", b"1!"]


async def test_another_method(connect: Connect, service: Service) -> None:
    """An interceptor may send a call to another method; errors return through it."""
    call = Stub(await connect(service.port, [Redirecting()])).echo(b"x")
    with pytest.raises(AioRpcError) as raised:
        await call
    assert raised.value.code() is StatusCode.FAILED_PRECONDITION
    assert await call.details() == "not so"


async def test_cancel(connect: Connect, service: Service) -> None:
    """Cancelling a call behind interceptors cancels it at the server."""
    call = Stub(await connect(service.port, [UnaryUnary()])).hold(b"x")
    await service.entered.wait()
    assert call.cancel()
    assert await call.code() is StatusCode.CANCELLED


async def test_compression_and_timeout(connect: Connect, service: Service) -> None:
    """The arguments of a call pass through interceptors."""
    stub = Stub(await connect(service.port, [UnaryUnary()]))
    assert await stub.echo(b"x" * 2000, compression=grpc.Compression.Gzip) == b"x" * 2000
    with pytest.raises(AioRpcError) as raised:
        await stub.hold(b"", timeout=0.2)
    assert raised.value.code() is StatusCode.DEADLINE_EXCEEDED


async def test_done_callback(connect: Connect, service: Service) -> None:
    """Callbacks get the call object that the caller has."""
    told: list[object] = []
    call = Stub(await connect(service.port, [UnaryUnary()])).echo(b"x")
    call.add_done_callback(told.append)
    await call
    assert told == [call]


async def test_close(connect: Connect, service: Service) -> None:
    """Closing the channel waits for calls behind interceptors within the grace, then cancels them."""
    channel = await connect(service.port, [UnaryUnary()])
    call = Stub(channel).hold(b"x")
    await service.entered.wait()
    await channel.close(0.05)
    assert call.cancelled()
    with pytest.raises(grpc.aio.UsageError):
        await Stub(channel).echo(b"")

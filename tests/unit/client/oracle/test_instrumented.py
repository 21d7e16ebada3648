"""Interceptors of an application on all channels: grpc.aio's own, and those of a pool's backends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from grpc import StatusCode
from grpc.aio import EOF, AioRpcError, ClientCallDetails, Metadata

from tests.unit.client.instrumentation import Instrumentation, Intercept, add_interceptors, of_each_form, passed
from tests.unit.client.oracle.conftest import Connect, Kind
from tests.unit.client.oracle.service import Service, Stub

pytestmark = pytest.mark.parametrize(
    "kind", [(kind, Instrumentation.NONE) for kind in Kind], indirect=True, ids=list(Kind)
)

Instrument = Callable[..., Any]

RESPONSES: dict[str, Callable[[Stub], Any]] = {
    "unary_unary": lambda stub: _awaited(stub.echo(b"1")),
    "unary_stream": lambda stub: _listed(stub.count(b"1")),
    "stream_unary": lambda stub: _awaited(stub.join([b"1"])),
    "stream_stream": lambda stub: _listed(stub.mirror([b"1"])),
}


async def _awaited(call: Any) -> Any:
    return await call


async def _listed(call: Any) -> list[Any]:
    return [response async for response in call]


class Refused(Exception):
    """An error that is not one of gRPC."""


@pytest.fixture
def instrument(monkeypatch: pytest.MonkeyPatch, connect: Connect, service: Service) -> Instrument:
    """Make a stub on a channel with interceptors; the first one sees a call first."""

    async def made(*intercepts: Intercept) -> Stub:
        for intercept in intercepts:
            add_interceptors(monkeypatch, of_each_form(intercept))
        return Stub(await connect(service.port))

    return made


@pytest.mark.parametrize("form", RESPONSES)
async def test_order_and_details(instrument: Instrument, form: str) -> None:
    """Interceptors run in order, see the details of the call, and may change its metadata."""
    seen: list[Any] = []

    async def first(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
        seen.append(details.method)
        metadata = Metadata(*(details.metadata or ()), ("tag", "it"))
        return await continuation(
            ClientCallDetails(details.method, details.timeout, metadata, details.credentials, details.wait_for_ready),
            request,
        )

    async def second(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
        seen.append(details.metadata["tag"] if details.metadata else None)
        return await continuation(details, request)

    await RESPONSES[form](await instrument(first, second))
    assert seen[0].startswith(b"/oracle.All/")
    assert seen[1:] == ["it"]


async def test_timeout_and_metadata_of_the_call(instrument: Instrument, service: Service) -> None:
    """The details hold timeout and metadata as the caller passed them."""
    seen: list[ClientCallDetails] = []

    async def keep(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
        seen.append(details)
        return await continuation(details, request)

    stub = await instrument(keep)
    await stub.echo(b"x", metadata=(("asked", "this"),))
    assert await stub.echo(b"x", timeout=5, metadata=(("asked", "this"),)) == b"x"
    assert service.metadata["asked"] == "this"
    first, second = seen
    assert first.timeout is None
    assert second.timeout is not None
    assert 4 < second.timeout <= 5
    assert second.metadata == Metadata(("asked", "this"))


@pytest.mark.parametrize("form", RESPONSES)
async def test_error_of_its_own(instrument: Instrument, form: str) -> None:
    """An error that an interceptor raises reaches the caller unchanged."""
    error = Refused("not today")

    async def refuse(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
        raise error

    with pytest.raises(Refused) as raised:
        await RESPONSES[form](await instrument(passed, refuse))
    assert raised.value is error


@pytest.mark.parametrize("awaited_first", [False, True])
async def test_call_with_an_error_of_its_own(instrument: Instrument, awaited_first: bool) -> None:
    """After an error of an interceptor, the call is done, is not cancelled, and raises the error for each query of its
    outcome.
    """

    async def refuse(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
        await asyncio.sleep(0.01)
        raise Refused("not today")

    told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    call = (await instrument(refuse)).echo(b"x")
    call.add_done_callback(told.set_result)
    if awaited_first:
        with pytest.raises(Refused):
            await call
    assert await asyncio.wait_for(told, 10) is call
    assert (call.done(), call.cancelled(), call.cancel()) == (True, False, False)
    for asked in (call.code, call.details, call.initial_metadata, call.trailing_metadata, call.debug_error_string):
        with pytest.raises(Refused):
            await asked()
    with pytest.raises(Refused):
        await call.wait_for_connection()
    with pytest.raises(Refused):
        await call


@pytest.mark.parametrize("form", RESPONSES)
async def test_status_of_its_own(instrument: Instrument, form: str) -> None:
    """A gRPC error that an interceptor raises reaches the caller unchanged."""
    error = AioRpcError(StatusCode.PERMISSION_DENIED, Metadata(("a", "b")), Metadata(("c", "d")), "not today", "debug")

    async def refuse(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
        raise error

    stub = await instrument(refuse)
    with pytest.raises(AioRpcError) as raised:
        await RESPONSES[form](stub)
    assert raised.value is error
    call = stub.echo(b"x")
    assert (await call.code(), await call.details()) == (StatusCode.PERMISSION_DENIED, "not today")
    assert (await call.initial_metadata())["a"] == "b"
    assert (await call.trailing_metadata())["c"] == "d"
    assert await call.debug_error_string() == "debug"
    assert (call.done(), call.cancelled()) == (True, False)


async def test_status_of_a_stream_to_write_to(instrument: Instrument) -> None:
    """Writing to a call that an interceptor rejected raises its error."""

    async def refuse(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
        raise AioRpcError(StatusCode.PERMISSION_DENIED, Metadata(), Metadata(), "not today")

    call = (await instrument(refuse)).join()
    with pytest.raises(AioRpcError):
        await call
    with pytest.raises(asyncio.InvalidStateError):
        await call.write(b"x")


async def test_response_without_a_call(instrument: Instrument, service: Service) -> None:
    """A response that an interceptor returns is the response; no call is sent."""

    async def answer(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
        return b"mine"

    call = (await instrument(passed, answer)).echo(b"x")
    assert await call == b"mine"
    assert (await call.code(), await call.details()) == (StatusCode.OK, "")
    assert (call.done(), call.cancelled(), call.cancel()) == (True, False, False)
    assert service.metadata == {}


async def test_response_instead_of_an_error(instrument: Instrument) -> None:
    """If an interceptor returns a response for a failed call, the call has succeeded for the caller and outer
    interceptors.
    """
    codes: list[StatusCode] = []

    async def watch(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
        call = await continuation(details, request)
        codes.append(await call.code())
        return call

    async def recover(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
        try:
            return await (await continuation(details, request))
        except AioRpcError:
            return b"instead"

    call = (await instrument(watch, recover)).fail(b"x")
    assert await call == b"instead"
    assert (await call.code(), codes) == (StatusCode.OK, [StatusCode.OK])


async def test_another_method(instrument: Instrument) -> None:
    """An interceptor may call another method."""

    async def redirect(continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(details._replace(method=b"/oracle.All/Echo"), request)

    assert await (await instrument(redirect)).missing(b"x") == b"x"


async def test_call_twice(instrument: Instrument) -> None:
    """An interceptor may call several times and return the last call."""
    calls = 0

    async def again(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
        nonlocal calls
        for _ in range(3):
            call = await continuation(details, request)
            calls += await call.code() is StatusCode.FAILED_PRECONDITION
        return call

    with pytest.raises(AioRpcError):
        await (await instrument(again)).fail(b"x")
    assert calls == 3


async def test_responses_of_its_own(instrument: Instrument) -> None:
    """An interceptor may change each response of a stream, for iteration and for read."""

    async def shout(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
        call = await continuation(details, request)

        async def louder() -> AsyncIterator[bytes]:
            async for response in call:
                yield response + b"!"

        return louder()

    stub = await instrument(passed, shout)
    assert await _listed(stub.count(b"2")) == [b"0!", b"1!"]
    call = stub.count(b"1")
    assert [await call.read(), await call.read()] == [b"0!", EOF]
    assert (await call.code(), call.done()) == (StatusCode.OK, True)


async def test_responses_that_end_in_an_error(instrument: Instrument) -> None:
    """An error raised by an iterator of responses reaches the caller after the responses before it."""

    async def shorten(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
        call = await continuation(details, request)

        async def one() -> AsyncIterator[bytes]:
            async for response in call:
                yield response
                raise Refused("enough")

        return one()

    call = (await instrument(shorten)).count(b"2")
    assert await call.read() == b"0"
    with pytest.raises(Refused):
        await call.read()


@pytest.mark.parametrize("form", ["join", "mirror"])
async def test_requests_of_its_own(instrument: Instrument, form: str) -> None:
    """An interceptor may change each request of a stream, for iteration and for write."""

    async def shout(continuation: Any, details: ClientCallDetails, requests: Any) -> Any:
        async def louder() -> AsyncIterator[bytes]:
            async for request in requests:
                yield request + b"!"

        return await continuation(details, louder())

    async def each() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    make = getattr(await instrument(shout), form)
    written = make()
    for request in (b"a", b"b"):
        await written.write(request)
    await written.done_writing()
    if form == "join":
        assert await make(each()) == await written == b"a!,b!"
    else:
        assert await _listed(make(each())) == await _listed(written) == [b"a!", b"b!"]


async def test_interceptor_that_cancels(instrument: Instrument) -> None:
    """A call that an interceptor cancels is cancelled for the caller."""

    async def cancel(continuation: Any, details: ClientCallDetails, request: Any) -> Any:
        call = await continuation(details, request)
        call.cancel()
        return call

    call = (await instrument(cancel)).echo(b"x")
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (call.cancelled(), await call.code()) == (True, StatusCode.CANCELLED)

"""Spans that tracing agents record of calls over a pool."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc.aio
import pytest
import sentry_sdk
from grpc import StatusCode
from grpc.aio import AioRpcError, ClientInterceptor
from opentelemetry import trace
from opentelemetry.instrumentation.grpc import GrpcAioInstrumentorClient, aio_client_interceptors
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from backendpool.client import connect
from backendpool.errors import NoBackendError
from backendpool.testing import FakePool
from tests.unit.client.instrumentation import Instrumentation, instrumented, of_each_form, passed
from tests.unit.client.pods import METHOD, FailingPod, Pod, pods, serving, unary

OK, UNAVAILABLE = StatusCode.OK, StatusCode.UNAVAILABLE


class Tracing:
    """OpenTelemetry's spans, in the order in which they ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def ended(self) -> list[tuple[StatusCode, int | None]]:
        """Return status and parent of each span."""
        return [(_code(span), span.parent.span_id if span.parent else None) for span in self.spans()]

    def codes(self) -> list[StatusCode]:
        return [_code(span) for span in self.spans()]

    def spans(self) -> list[ReadableSpan]:
        spans = [span for span in self._exporter.get_finished_spans() if span.kind is trace.SpanKind.CLIENT]
        assert {span.name for span in spans} <= {METHOD}
        return spans

    @contextmanager
    def span(self) -> Iterator[int]:
        """Start a span of the application."""
        with self.provider.get_tracer("application").start_as_current_span("work") as span:
            yield span.get_span_context().span_id

    def interceptors(self) -> list[ClientInterceptor]:
        made: list[ClientInterceptor] = aio_client_interceptors(tracer_provider=self.provider)  # type: ignore[no-untyped-call]
        return made


def _code(span: ReadableSpan) -> StatusCode:
    assert span.attributes is not None
    number = span.attributes["rpc.grpc.status_code"]
    return next(code for code in StatusCode if code.value[0] == number)


@pytest.fixture
def tracing() -> Tracing:
    """Record spans of interceptors passed to ``connect``."""
    return Tracing()


@pytest.fixture
def everywhere(tracing: Tracing) -> Iterator[Tracing]:
    """Record spans of interceptors that OpenTelemetry adds to every channel."""
    agent: Any = GrpcAioInstrumentorClient
    agent().instrument(tracer_provider=tracing.provider)
    yield tracing
    agent().uninstrument()


def listing(*listed: Pod) -> FakePool:
    pool = FakePool()
    pool.set(pod.endpoint for pod in listed)
    return pool


async def test_span_per_attempt(everywhere: Tracing, failing: FailingPod) -> None:
    """Each attempt has a span with its status, a child of the caller's span."""
    async with connect(listing(failing), idempotent=True) as channel:
        with everywhere.span() as caller:
            assert await unary(channel)(b"", timeout=5) == b"failing"
    assert everywhere.ended() == [(UNAVAILABLE, caller), (OK, caller)]


@pytest.mark.parametrize("by_done_callback", [False, True])
async def test_error_is_that_of_the_call(everywhere: Tracing, failing: FailingPod, by_done_callback: bool) -> None:
    """A failing call raises the same error after the same number of attempts as without an agent."""
    failing.failures = 100
    async with connect(listing(failing), idempotent=True) as channel:
        call = unary(channel)(b"", timeout=5)
        if by_done_callback:
            ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            call.add_done_callback(ended.set_result)
            assert await asyncio.wait_for(ended, 10) is call
        with pytest.raises(AioRpcError) as raised:
            await call
        assert (raised.value.code(), raised.value.details()) == (UNAVAILABLE, "not now")
        assert 0 < call.time_remaining() < 5
        assert (channel.status().calls_started, channel.status().calls_failed) == (3, 3)
    assert everywhere.codes() == [UNAVAILABLE] * 3


async def test_span_per_call(tracing: Tracing, failing: FailingPod) -> None:
    """Interceptors passed to ``connect`` record one span per call, however often it is retried."""
    async with connect(listing(failing), idempotent=True, interceptors=tracing.interceptors()) as channel:
        with tracing.span() as caller:
            assert await unary(channel)(b"", timeout=5) == b"failing"
    assert tracing.ended() == [(OK, caller)]
    assert failing.calls == 2


async def test_span_per_call_and_per_attempt(everywhere: Tracing, failing: FailingPod) -> None:
    """With both, the spans of attempts are children of the span of the call."""
    async with connect(listing(failing), idempotent=True, interceptors=everywhere.interceptors()) as channel:
        assert await unary(channel)(b"", timeout=5) == b"failing"
    call = everywhere.spans()[-1].get_span_context()
    assert call is not None
    assert everywhere.ended() == [(UNAVAILABLE, call.span_id), (OK, call.span_id), (OK, None)]


async def test_attempts_of_a_stream_are_children_of_its_call(everywhere: Tracing) -> None:
    """Attempts of a stream are children of its call's span, even if it is read after that span is no longer current."""
    calls = 0

    async def fail_once(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> AsyncIterator[bytes]:
        nonlocal calls
        calls += 1
        if calls == 1:
            await context.abort(UNAVAILABLE, "not now")
        yield b"x"

    pool = FakePool()
    handler: Any = grpc.unary_stream_rpc_method_handler(fail_once)
    async with serving(handler) as endpoint:
        pool.set([endpoint])
        async with connect(pool, idempotent=True, interceptors=everywhere.interceptors()) as channel:
            stream: Any = channel.unary_stream(METHOD)
            with everywhere.span() as caller:
                assert [response async for response in stream(b"")] == [b"x"]
    call = everywhere.spans()[-1].get_span_context()
    assert call is not None
    assert everywhere.ended() == [(UNAVAILABLE, call.span_id), (OK, call.span_id), (OK, caller)]


async def test_application_interceptors_make_no_span(everywhere: Tracing) -> None:
    """An agent does not trace the internal channel that runs the interceptors of ``connect``."""
    async with pods("a") as (a,), connect(listing(a), interceptors=of_each_form(passed)) as channel:
        assert await unary(channel)(b"") == b"a"
    assert everywhere.codes() == [OK]


@pytest.mark.parametrize("form", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
async def test_span_of_each_form(everywhere: Tracing, form: str) -> None:
    """Calls of every form have a span, successful or not."""

    async def stream(_: Any, context: grpc.aio.ServicerContext[bytes, bytes]) -> AsyncIterator[bytes]:
        yield await answer(_, context)

    async def answer(_: Any, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        if dict(context.invocation_metadata() or ()).get("fail"):
            await context.abort(StatusCode.INTERNAL, "not so")
        return b"x"

    make: Callable[..., Any] = getattr(grpc, f"{form}_rpc_method_handler")
    async with serving(make(stream if form.endswith("stream") else answer)) as endpoint:
        pool = FakePool()
        pool.set([endpoint])
        async with connect(pool) as channel:
            method: Any = getattr(channel, form)(METHOD)
            request: Any = [b"x"] if form.startswith("stream") else b"x"
            assert await _answer(method(request, timeout=5), form) == b"x"
            with pytest.raises(AioRpcError, match="not so"):
                await _answer(method(request, timeout=5, metadata=(("fail", "yes"),)), form)
    assert Counter(everywhere.codes()) == Counter([OK, StatusCode.INTERNAL]), "in any order: a span may end late"


async def _answer(call: Any, form: str) -> bytes:
    return b"".join([response async for response in call]) if form.endswith("stream") else await call


async def test_span_of_a_call_that_is_cancelled(everywhere: Tracing) -> None:
    """Cancelling a call ends its span at once."""
    async with pods("a") as (a,), connect(listing(a)) as channel:
        a.held = asyncio.Event()
        call = unary(channel)(b"", timeout=5)
        await a.called.wait()
        assert (call.cancel(), call.cancelled()) == (True, True)
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await call.code() is StatusCode.CANCELLED
        await asyncio.sleep(0)
        assert everywhere.codes() == [StatusCode.CANCELLED]
        a.held.set()


async def test_span_of_a_call_that_is_cut(everywhere: Tracing) -> None:
    """If a backend is removed, the span of its attempt ends with an error that says so."""
    async with pods("a") as (a,):
        a.held = asyncio.Event()
        pool = listing(a)
        async with connect(pool, drain_timeout=0.05) as channel:
            call = unary(channel)(b"", timeout=10)
            waiting = asyncio.ensure_future(call.code())
            await a.called.wait()
            pool.set([])
            assert await waiting is UNAVAILABLE
            with pytest.raises(NoBackendError, match="the backend was removed before it answered"):
                await call
        a.held.set()
    assert everywhere.codes() == [StatusCode.CANCELLED]


class Recorded(Transport):
    """Outcomes of calls by Sentry's spans."""

    def __init__(self) -> None:
        super().__init__()
        self.codes: list[str] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        event: Any = envelope.get_transaction_event()
        if event is not None:
            self.codes += [span["data"]["code"] for span in event["spans"] if span["op"] == "grpc.client"]


@contextmanager
def sentry() -> Iterator[Recorded]:
    """Sentry's interceptors on every channel, and a client that records spans."""
    recorded = Recorded()
    client = sentry_sdk.Client(
        dsn="https://key@sentry.invalid/1",
        transport=recorded,
        traces_sample_rate=1.0,
        default_integrations=False,
        auto_enabling_integrations=False,
    )
    with instrumented(Instrumentation.SENTRY), sentry_sdk.new_scope() as scope:
        scope.set_client(client)
        yield recorded
        client.close()


async def test_sentry_records_each_attempt(failing: FailingPod) -> None:
    """Each attempt has a span, whether the call succeeds or fails in the end."""
    with sentry() as recorded:
        async with connect(listing(failing), idempotent=True) as channel:
            with sentry_sdk.start_transaction(name="work"):
                assert await unary(channel)(b"", timeout=5) == b"failing"
            assert recorded.codes == ["UNAVAILABLE", "OK"]
            failing.failures = 100
            with sentry_sdk.start_transaction(name="work"), pytest.raises(AioRpcError, match="not now"):
                await unary(channel)(b"", timeout=5)
            assert recorded.codes == ["UNAVAILABLE", "OK", *["UNAVAILABLE"] * 3]

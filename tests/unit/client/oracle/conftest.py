"""Channels that must behave alike. The one of grpc.aio is the oracle."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from enum import StrEnum

import grpc.aio
import pytest
from grpc.aio import ClientInterceptor

from backendpool.api.endpoints import Endpoint
from backendpool.client._balancer import Balancer
from backendpool.client._channel import PoolChannel
from tests.fakes.objects import pool_view
from tests.unit.client.instrumentation import Instrumentation, instrumented
from tests.unit.client.oracle.service import LOOPBACK, Service, Stub
from tests.unit.client.pods import initialized

Connect = Callable[..., Awaitable[grpc.aio.Channel]]


class Kind(StrEnum):
    BARE = "grpc.aio"
    POOL = "pool"
    FRESH_POOL = "pool that is not connected yet"


_KINDS = [
    *((kind, Instrumentation.NONE) for kind in Kind),
    (Kind.BARE, Instrumentation.PASSING),
    (Kind.BARE, Instrumentation.WAITING),
    *((Kind.POOL, by) for by in Instrumentation if by is not Instrumentation.NONE),
    (Kind.FRESH_POOL, Instrumentation.WAITING),
]

# Tests that grpc.aio itself fails if its channel has interceptors. A pool passes them, whatever interceptors are on the
# channels of its backends.
_CANCELLATION = "done() and cancelled() do not show that it was cancelled"
_CLOSED = "a closed channel accepts the call, which then fails"
_SERVER = "cancelling it does not reach the server"
_DEADLOCK = "a request is sent after the interceptor, which waits for the end of the requests"
_BEHIND_INTERCEPTORS = {
    "test_channel::test_call_that_was_just_made": _CANCELLATION,
    "test_channel::test_close_with_a_grace": _CLOSED,
    "test_channel::test_closed": _CLOSED,
    "test_streams::test_styles_do_not_mix": "read() and iteration may be mixed",
    "test_unary::test_cancel_at_once": _CANCELLATION,
    "test_unary::test_no_timeout": "time_remaining() is not implemented",
    "test_unary::test_timeout": "time_remaining() is not implemented",
}
_BEHIND_WAITING_INTERCEPTORS = _BEHIND_INTERCEPTORS | {
    "test_channel::test_close_cancels": _CANCELLATION,
    "test_interceptors::test_answer_of_its_own": "the call made of a response has no done callbacks",
    "test_interceptors::test_close": _CANCELLATION,
    "test_streams::test_connection_of_streams": "the connection is waited for until the end of the call",
    "test_streams::test_no_write_after_the_end": _DEADLOCK,
    "test_streams::test_requests_by_write": _DEADLOCK,
    "test_streams::test_server_that_does_not_read_on": _DEADLOCK,
    "test_unary::test_asking_for_the_code_holds_nothing": "cancelling a task that waits for the code cancels the call",
    "test_unary::test_cancel_under_way": _SERVER,
    "test_unary::test_cancelled_with_the_task": _SERVER,
}
_HANGING = {
    "test_streams::test_connection_of_streams",
    "test_streams::test_no_write_after_the_end",
    "test_streams::test_requests_by_write",
    "test_streams::test_server_that_does_not_read_on",
    "test_unary::test_cancel_under_way",
    "test_unary::test_cancelled_with_the_task",
}


@pytest.fixture(params=_KINDS, ids=", ".join)
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    kind, by = request.param
    failing: dict[str, str] = {}
    if kind is Kind.BARE and by is not Instrumentation.NONE:
        failing = _BEHIND_WAITING_INTERCEPTORS if by is Instrumentation.WAITING else _BEHIND_INTERCEPTORS
    test = f"{request.node.path.stem}::{request.node.originalname}"
    if test in failing:
        request.node.add_marker(pytest.mark.xfail(strict=True, reason=failing[test], run=test not in _HANGING))
    with instrumented(by):
        yield kind


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    async with service.serving():
        yield service


@pytest.fixture
async def connect(kind: Kind) -> AsyncIterator[Connect]:
    """Connect each kind of channel to a port on loopback; close them at the end."""
    async with AsyncExitStack() as stack:

        async def make(port: int, interceptors: Sequence[ClientInterceptor] = ()) -> grpc.aio.Channel:
            channel: grpc.aio.Channel
            if kind is Kind.BARE:
                channel = grpc.aio.insecure_channel(f"ipv4:{LOOPBACK}:{port}", interceptors=interceptors)
            else:
                balancer = Balancer("ns/oracle")
                balancer.update(pool_view(Endpoint(LOOPBACK, port)))
                if kind is Kind.POOL:
                    await initialized(balancer)
                channel = PoolChannel(balancer, interceptors=interceptors)
            return await stack.enter_async_context(channel)

        yield make


@pytest.fixture
async def channel(connect: Connect, service: Service) -> grpc.aio.Channel:
    return await connect(service.port)


@pytest.fixture
async def stub(channel: grpc.aio.Channel) -> Stub:
    return Stub(channel)

"""The modes sticky, dns and lookaside, over real servers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
import pytest

from backendpool.proto.lookaside.lookaside_pb2 import Request, Response
from backendpool.proto.lookaside.lookaside_pb2_grpc import LookasideServicer, add_LookasideServicer_to_server
from greet.gateway import lookaside, modes
from greet.gateway.greeter import Greeter, LookupFailed
from greet.settings import GatewaySettings
from tests.fakes.until import until
from tests.unit.greet.servers import REQUEST, free_port, greet_servers, pod_of

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


async def shares(greeter: Greeter, calls: int) -> Counter[str]:
    return Counter([pod_of(await greeter.greet(REQUEST, 5)) for _ in range(calls)])


async def test_sticky_calls_one_host() -> None:
    """All calls go to one host, and the greeter is ready from the start."""
    port = free_port()
    settings = GatewaySettings(server_host=HOSTS[1], server_port=port)
    async with greet_servers(*HOSTS, port=port), modes.sticky(settings) as greeter:
        assert greeter.unready() is None
        assert await shares(greeter, 9) == {HOSTS[1]: 9}


async def test_nobody_there_is_unavailable() -> None:
    """If no server listens, a call fails with UNAVAILABLE."""
    async with modes.sticky(GatewaySettings(server_host=HOSTS[0], server_port=free_port())) as greeter:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await greeter.greet(REQUEST, 5)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_dns_calls_what_the_name_resolves_to() -> None:
    """The name of the Service is resolved, and its address is called."""
    port = free_port()
    settings = GatewaySettings(service="localhost", server_port=port)
    async with greet_servers(HOSTS[0], port=port), modes.dns(settings) as greeter:
        assert greeter.unready() is None
        assert await shares(greeter, 3) == {HOSTS[0]: 3}


class Lookaside(LookasideServicer):
    """Returns the hosts in round robin and records requests; the first ``frozen`` connections get no response."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.connections: list[str] = []
        self.frozen = 0
        self.delays: list[float] = []
        """Delays of the next calls, in seconds."""

    def freeze(self, more: int = 0) -> None:
        """Stop responding on all connections so far, and on the next ``more`` connections."""
        self.frozen = len(set(self.connections)) + more

    async def Resolve(  # noqa: N802
        self, request: Request, context: grpc.aio.ServicerContext[Request, Response]
    ) -> Response:
        self.asked.append(request)
        self.connections.append(context.peer())
        in_order = list(dict.fromkeys(self.connections))
        if request.service == "slow" or in_order.index(context.peer()) < self.frozen:
            await asyncio.sleep(5)
        if self.delays:
            await asyncio.sleep(self.delays.pop())
        if request.service != "who":
            await context.abort(grpc.StatusCode.UNAVAILABLE, "no ready endpoint")
        return Response(address=HOSTS[len(self.asked) % len(HOSTS)])


@asynccontextmanager
async def looking(service: str, server_port: int) -> AsyncIterator[tuple[Lookaside, Greeter]]:
    """Yield a lookaside, and a greeter that asks it for ``service``."""
    servicer = Lookaside()
    server = grpc.aio.server()
    add_LookasideServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    settings = GatewaySettings(
        service=service, namespace="ns", lookaside_host="127.0.0.1", lookaside_port=port, server_port=server_port
    )
    try:
        async with modes.lookaside(settings) as greeter:
            yield servicer, greeter
    finally:
        await server.stop(None)


async def test_lookaside_is_asked_for_each_call() -> None:
    """Each call goes to the address that the lookaside returned for it, on the port of the greet servers."""
    async with greet_servers(*HOSTS) as port, looking("who", port) as (servicer, greeter):
        assert greeter.unready() is None
        assert await shares(greeter, 9) == dict.fromkeys(HOSTS, 3)
    assert servicer.asked == [Request(router=Request.ROUNDROBIN, service="who", namespace="ns")] * 9


async def test_refusal_of_the_lookaside_is_told_from_the_greet_servers() -> None:
    """An error of the lookaside is a LookupFailed with its message; an error of a greet server is not."""
    async with looking("nobody", 1) as (_, greeter):
        with pytest.raises(LookupFailed, match="no ready endpoint") as caught:
            await greeter.greet(REQUEST, 5)
        assert caught.value.error.code() is grpc.StatusCode.UNAVAILABLE
    async with looking("who", free_port()) as (_, greeter):
        with pytest.raises(grpc.aio.AioRpcError):
            await greeter.greet(REQUEST, 5)


async def test_lookup_counts_towards_the_deadline() -> None:
    """The deadline of a call includes the lookup."""
    async with looking("slow", 1) as (_, greeter):
        with pytest.raises(LookupFailed) as caught:
            await greeter.greet(REQUEST, 0.05)
        assert caught.value.error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("more", [0, 1, 2])
async def test_silent_lookaside_is_left_for_another_connection(monkeypatch: pytest.MonkeyPatch, more: int) -> None:
    """If the lookaside does not respond, the greeter opens a new connection, and repeats all waiting lookups on it.

    The next ``more`` connections reach a stalled replica again.
    """
    monkeypatch.setattr(lookaside, "_MIN_STALL_TIMEOUT", 0.1)
    async with greet_servers(*HOSTS) as port, looking("who", port) as (servicer, greeter):
        await greeter.greet(REQUEST, 5)
        servicer.freeze(more)
        answers = await asyncio.gather(*(greeter.greet(REQUEST, 2) for _ in range(9)))
        assert len(answers) == 9
        assert len(set(servicer.connections)) == 2 + more


async def test_slow_lookaside_is_waited_for() -> None:
    """A lookaside that delays one call but answers others keeps its connection."""
    async with greet_servers(*HOSTS) as port, looking("who", port) as (servicer, greeter):
        servicer.delays = [1.3]
        waiting = asyncio.create_task(greeter.greet(REQUEST, 2))
        await until(lambda: not servicer.delays)
        while not waiting.done():
            await greeter.greet(REQUEST, 2)
            await asyncio.sleep(0.05)
        await waiting
        assert len(set(servicer.connections)) == 1


async def test_address_that_comes_back_is_called_at_once() -> None:
    """A failed connection is dropped, so the next call to its address connects without backoff."""
    port = free_port()
    async with looking("who", port) as (_, greeter):
        for _ in range(3):
            for _ in HOSTS:
                with pytest.raises(grpc.aio.AioRpcError):
                    await greeter.greet(REQUEST, 5)
            async with greet_servers(*HOSTS, port=port):
                assert await shares(greeter, 3) == dict.fromkeys(HOSTS, 1)

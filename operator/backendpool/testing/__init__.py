"""A pool for tests: in the process of a test, and as the test wants it. gRPC is all that it needs.

::

    async with FakePool(lambda server: add_GreetServiceServicer_to_server(Greeter(), server), count=3) as pool:
        async with connect(pool) as channel:
            await pool.wait_until_connected(channel)
            ...
            await pool.kill(0)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

import grpc.aio

from backendpool.api.endpoints import Endpoint, EndpointSet, EndpointState
from backendpool.api.load_balancing import DEFAULT, LoadBalancing
from backendpool.api.pool import PoolView
from backendpool.client.channel import PoolChannel
from backendpool.client.subchannel import Connection

Register = Callable[[grpc.aio.Server], object]
"""Adds a servicer, as the generated ``add_…Servicer_to_server`` do."""

_LOOPBACK: Final = "127.0.0.1"


class FakePool:
    """A pool of ``count`` servers on the loopback, each with what ``register`` adds to it; a target for ``connect``.

    Its clients are told of each change, as those of a pool in a cluster are; ``balancing`` is what its author asks of
    them. Without ``register`` it has no servers, and only tells what :meth:`set` is given.

    Servers run in the context. One that is not listed any more goes on until its end, with the calls under way there.
    """

    def __init__(self, register: Register | None = None, count: int = 0, *, balancing: LoadBalancing = DEFAULT) -> None:
        self._register = register
        self._count = count
        self._balancing = balancing
        self._servers: dict[tuple[str, int, str], grpc.aio.Server] = {}
        self._endpoints: tuple[Endpoint, ...] = ()
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.scale(self._count)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        await asyncio.gather(*(server.stop(None) for server in self._servers.values()))

    async def __aiter__(self) -> AsyncIterator[PoolView]:
        """The pool as it is, and at each change."""
        while True:
            changed = self._changed
            yield self.view
            await changed.wait()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Those that are listed, in the order in which they began."""
        return self._endpoints

    @property
    def view(self) -> PoolView:
        """What clients are told."""
        return PoolView(EndpointSet.of(self._endpoints), self._balancing)

    def set(self, endpoints: Iterable[Endpoint], balancing: LoadBalancing | None = None) -> None:
        """List ``endpoints``, whoever is there, and ask for ``balancing`` from now on if it is given."""
        self._endpoints = tuple(endpoints)
        self._balancing = balancing or self._balancing
        self._changed.set()
        self._changed = asyncio.Event()

    async def scale(self, count: int) -> None:
        """List ``count`` endpoints: more servers are begun, or those that began last are not listed any more."""
        begun = [await self._begin() for _ in range(count - len(self._endpoints))]
        self.set((*self._endpoints, *begun)[:count])

    def drain(self, place: int) -> None:
        """Have the endpoint at ``place`` be Draining, as that of a pod which terminates; its server goes on."""
        endpoint = replace(self._endpoints[place], state=EndpointState.DRAINING)
        self.set((*self._endpoints[:place], endpoint, *self._endpoints[place:][1:]))

    async def kill(self, place: int) -> None:
        """End the server of the endpoint at ``place`` at once, with its calls under way.

        It stays listed, as a pod does that has just died. Raises :class:`LookupError` where there is no server.
        """
        await self._servers[self._endpoints[place].identity].stop(None)

    async def wait_until_connected(self, channel: PoolChannel) -> None:
        """Wait until ``channel`` knows the pool as it is now, and has tried to connect to each endpoint.

        It is for a channel that takes all endpoints, and no subset of them.
        """
        while not self._has_tried_all(channel):
            await channel.wait_for_change()

    def _has_tried_all(self, channel: PoolChannel) -> bool:
        backends = channel.status().backends
        known = tuple(backend.endpoint for backend in backends) == self.view.endpoints.endpoints
        return known and all(backend.connection is not Connection.CONNECTING for backend in backends)

    async def _begin(self) -> Endpoint:
        if self._register is None:
            raise ValueError("a FakePool without servers: give it what registers one, or set its endpoints")
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._register(server)
        port = server.add_insecure_port(f"{_LOOPBACK}:0")
        await server.start()
        name = f"pod-{len(self._servers)}"
        endpoint = Endpoint(_LOOPBACK, port, pod_uid=name, pod_name=name)
        self._servers[endpoint.identity] = server
        return endpoint

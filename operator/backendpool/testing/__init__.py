"""FakePool: a pool in the process of a test, for applications that use the client. Needs only gRPC.

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
from backendpool.client._channel import PoolChannel
from backendpool.client._subchannel import Connection

Register = Callable[[grpc.aio.Server], object]
"""Adds a servicer, as the generated ``add_…Servicer_to_server`` do."""

_LOOPBACK: Final = "127.0.0.1"


class FakePool:
    """A pool of ``count`` servers on the loopback, which ``register`` adds servicers to; a target for ``connect``.

    Clients see each change, as they do in a cluster; ``balancing`` is the load balancing of the pool's spec. Without
    ``register`` there are no servers, and the pool lists what :meth:`set` is given.

    Servers run while the context lasts, also those that are no longer listed, so that their calls finish.
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
        """Yield the pool as it is now, and at each change."""
        while True:
            changed = self._changed
            yield self.view
            await changed.wait()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The listed endpoints, in the order in which their servers started."""
        return self._endpoints

    @property
    def view(self) -> PoolView:
        """The pool as clients see it."""
        return PoolView(EndpointSet.of(self._endpoints), self._balancing)

    def set(self, endpoints: Iterable[Endpoint], balancing: LoadBalancing | None = None) -> None:
        """List ``endpoints``, whether servers run there or not; change the load balancing if ``balancing`` is given."""
        self._endpoints = tuple(endpoints)
        self._balancing = balancing or self._balancing
        self._changed.set()
        self._changed = asyncio.Event()

    async def scale(self, count: int) -> None:
        """List ``count`` endpoints: start more servers, or remove the ones that started last."""
        started = [await self._start() for _ in range(count - len(self._endpoints))]
        self.set((*self._endpoints, *started)[:count])

    def drain(self, place: int) -> None:
        """Mark the endpoint at ``place`` as Draining, as for a pod that terminates; its server keeps running."""
        endpoint = replace(self._endpoints[place], state=EndpointState.DRAINING)
        self.set((*self._endpoints[:place], endpoint, *self._endpoints[place:][1:]))

    async def kill(self, place: int) -> None:
        """Stop the server of the endpoint at ``place`` at once, with its calls in flight.

        It stays listed, as a pod does that has just died. Raises :class:`LookupError` if there is no server.
        """
        await self._servers[self._endpoints[place].identity].stop(None)

    async def wait_until_connected(self, channel: PoolChannel) -> None:
        """Wait until ``channel`` knows the pool as it is now, and is connected to each endpoint or failed to connect.

        Not for a channel with a ``subset``.
        """
        while not self._has_tried_all(channel):
            await channel.wait_for_change()

    def _has_tried_all(self, channel: PoolChannel) -> bool:
        backends = channel.status().backends
        known = tuple(backend.endpoint for backend in backends) == self.view.endpoints.endpoints
        return known and all(backend.connection is not Connection.CONNECTING for backend in backends)

    async def _start(self) -> Endpoint:
        if self._register is None:
            raise ValueError("this FakePool has no servers: pass register, or use set() instead")
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._register(server)
        port = server.add_insecure_port(f"{_LOOPBACK}:0")
        await server.start()
        name = f"pod-{len(self._servers)}"
        endpoint = Endpoint(_LOOPBACK, port, pod_uid=name, pod_name=name)
        self._servers[endpoint.identity] = server
        return endpoint

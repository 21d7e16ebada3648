"""The aggregated discovery service alone, on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio

from backendpool.lookaside.topic import Broadcast
from backendpool.lookaside.xds.servicer import AdsServicer
from backendpool.lookaside.xds.snapshot import Publication


class Observer:
    """Notes what is told of clients' verdicts."""

    def __init__(self) -> None:
        self.verdicts: list[tuple[str, bool]] = []

    def judged(self, type_name: str, refused: bool) -> None:
        self.verdicts.append((type_name, refused))


class Server:
    """Serves ``publications``."""

    def __init__(self) -> None:
        self.observer = Observer()
        self.publications: Broadcast[Publication] = Broadcast()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """Gives the port."""
        server = grpc.aio.server()
        AdsServicer(self.publications, self.observer).register(server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield port
        finally:
            await server.stop(None)

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[grpc.aio.Channel]:
        """A client's, to the service."""
        async with self.serving() as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel

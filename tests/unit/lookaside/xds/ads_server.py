"""An ADS server on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio

from backendpool.lookaside.topic import Topic
from backendpool.lookaside.xds.servicer import AdsServicer
from backendpool.lookaside.xds.snapshot import SnapshotCache


class AdsServer:
    """Serves ``topic`` and records each ACK and NACK with its type."""

    def __init__(self) -> None:
        self.topic: Topic[SnapshotCache] = Topic()
        self.acks: list[tuple[str, bool]] = []

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """Serve on a free port; yields the port."""
        server = grpc.aio.server()
        AdsServicer(self.topic, self._on_ack).register(server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield port
        finally:
            await server.stop(None)

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[grpc.aio.Channel]:
        """Yield a channel to the server."""
        async with self.serving() as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel

    def _on_ack(self, type_name: str, nack: bool) -> None:
        self.acks.append((type_name, nack))

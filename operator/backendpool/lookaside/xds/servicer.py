"""The aggregated discovery service (ADS), in both variants of the protocol.

Requests and responses pass through gRPC as bytes, so that a response is encoded once for all streams.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import grpc
import grpc.aio
from envoy.service.discovery.v3 import ads_pb2
from google.protobuf.message import DecodeError

from backendpool.lookaside.topic import Subscriber, Topic
from backendpool.lookaside.xds.names import short_type
from backendpool.lookaside.xds.snapshot import SnapshotCache
from backendpool.lookaside.xds.stream_state import Ack, DeltaStream, SotwStream, StreamState

log = logging.getLogger(__name__)

SERVICE: Final = ads_pb2.DESCRIPTOR.services_by_name["AggregatedDiscoveryService"].full_name

_Context = grpc.aio.ServicerContext[bytes, bytes]
_MAX_LOGGED_NACKS = 1000


class AdsServicer:
    """Serve the snapshots of ``topic``.

    ``on_ack`` is called for each ACK or NACK, with the short type of the resources and whether it was a NACK.
    """

    def __init__(self, topic: Topic[SnapshotCache], on_ack: Callable[[str, bool], None]) -> None:
        self._topic = topic
        self._on_ack = on_ack
        self._logged_nacks: set[Ack] = set()

    def register(self, server: grpc.aio.Server) -> None:
        """Add the service to ``server``."""
        handlers: dict[str, Any] = {
            "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(self._stream_sotw),
            "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(self._stream_delta),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    async def _stream_sotw(self, _: object, context: _Context) -> None:
        await self._stream(SotwStream(), context)

    async def _stream_delta(self, _: object, context: _Context) -> None:
        await self._stream(DeltaStream(), context)

    async def _stream(self, state: StreamState, context: _Context) -> None:
        """Read requests and send responses concurrently until the client half-closes or either side ends."""
        async with self._topic.subscribe(context) as subscriber:
            reading = asyncio.create_task(self._read_requests(state, context, subscriber))
            try:
                await self._send_responses(state, subscriber, reading)
            except DecodeError as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"invalid discovery request: {error}")
            finally:
                reading.cancel()

    async def _read_requests(self, state: StreamState, context: _Context, subscriber: Subscriber) -> None:
        try:
            while isinstance(request := await context.read(), bytes):  # else EOF
                ack = state.handle_request(request)
                if ack:
                    self._note(ack)
                subscriber.wake()
        finally:
            subscriber.wake()

    async def _send_responses(self, state: StreamState, subscriber: Subscriber, reading: asyncio.Task[None]) -> None:
        while not (reading.done() or subscriber.closing):
            await subscriber.wait()
            if self._topic.latest is not None:
                for response in state.responses(self._topic.latest.snapshot(state.zone)):
                    await subscriber.send(response)
        if reading.done():
            reading.result()

    def _note(self, ack: Ack) -> None:
        """Count an ACK or NACK. Equal NACKs of any number of clients are logged once."""
        self._on_ack(short_type(ack.type_url), bool(ack.error))
        if ack.error and ack not in self._logged_nacks:
            log.warning(
                "Client rejected a resource (NACK)",
                extra={"resource_type": short_type(ack.type_url), "error": ack.error},
            )
            if len(self._logged_nacks) < _MAX_LOGGED_NACKS:
                self._logged_nacks.add(ack)

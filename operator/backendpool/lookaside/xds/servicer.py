"""The aggregated discovery service, as gRPC calls it: both variants, over raw bytes.

Requests and responses are not parsed and built by gRPC, so that a response is serialised once for all streams.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import grpc
import grpc.aio
from envoy.service.discovery.v3 import ads_pb2
from google.protobuf.message import DecodeError

from backendpool.lookaside.topic import Broadcast, Follower
from backendpool.lookaside.xds.conversation import Conversation, Verdict
from backendpool.lookaside.xds.delta import DeltaConversation
from backendpool.lookaside.xds.names import short
from backendpool.lookaside.xds.snapshot import Publication
from backendpool.lookaside.xds.sotw import SotwConversation

log = logging.getLogger(__name__)

SERVICE: Final = ads_pb2.DESCRIPTOR.services_by_name["AggregatedDiscoveryService"].full_name

_Context = grpc.aio.ServicerContext[bytes, bytes]
_MOST_REFUSALS = 1000


class AdsObserver(Protocol):
    """What the service tells of itself, for metrics."""

    def judged(self, type_name: str, refused: bool) -> None:
        """A client took or refused a response."""


class AdsServicer:
    """Serves what is published."""

    def __init__(self, publications: Broadcast[Publication], observer: AdsObserver) -> None:
        self._publications = publications
        self._observer = observer
        self._refusals: set[Verdict] = set()

    def register(self, server: grpc.aio.Server) -> None:
        """Add the service to ``server``."""
        handlers: dict[str, Any] = {
            "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(self._handler(SotwConversation)),
            "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(self._handler(DeltaConversation)),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    def _handler(self, begin: Callable[[], Conversation]) -> Callable[[object, _Context], Awaitable[None]]:
        async def converse(_: object, context: _Context) -> None:
            await self._converse(begin(), context)

        return converse

    async def _converse(self, conversation: Conversation, context: _Context) -> None:
        """Listen and tell at the same time, until the client has said all, or either side goes."""
        async with self._publications.follower(context) as follower:
            listening = asyncio.create_task(self._listen(conversation, context, follower))
            try:
                await self._tell(conversation, follower, listening)
            except DecodeError as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"that is no discovery request: {error}")
            finally:
                listening.cancel()

    async def _tell(self, conversation: Conversation, follower: Follower, listening: asyncio.Task[None]) -> None:
        while not (listening.done() or follower.leaving):
            await follower.woken()
            if self._publications.latest is not None:
                for response in conversation.responses(self._publications.latest):
                    await follower.tell(response)
        if listening.done():
            listening.result()

    async def _listen(self, conversation: Conversation, context: _Context, follower: Follower) -> None:
        try:
            while isinstance(request := await context.read(), bytes):  # else the end of them
                verdict = conversation.take(request)
                if verdict:
                    self._judge(verdict)
                follower.wake()
        finally:
            follower.wake()

    def _judge(self, verdict: Verdict) -> None:
        """Count it; a refusal is worth one line, however many clients share the opinion."""
        self._observer.judged(short(verdict.type_url), bool(verdict.problem))
        if verdict.problem and verdict not in self._refusals:
            log.warning("a client refused a %s: %s", short(verdict.type_url), verdict.problem)
            if len(self._refusals) < _MOST_REFUSALS:
                self._refusals.add(verdict)

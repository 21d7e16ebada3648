"""Watch: the endpoints of the pool, told as they change, and heartbeats in between."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration

from backendpool.api.pool import PoolView
from backendpool.api.protobuf import message_of
from backendpool.lookaside.asked import refuse_others
from backendpool.lookaside.topic import Broadcast
from backendpool.proto.v1.endpoints_pb2 import DESCRIPTOR, EndpointSet, WatchRequest

SERVICE: Final = DESCRIPTOR.services_by_name["Endpoints"].full_name

_HEARTBEAT: Final = 10.0

_Context = grpc.aio.ServicerContext[WatchRequest, bytes]


class Telling:
    """A view, serialised once for all who watch."""

    def __init__(self, view: PoolView) -> None:
        self._view = view

    @cached_property
    def whole(self) -> bytes:
        """The message that tells all of it, but for its age."""
        return message_of(self._view).SerializeToString()

    @cached_property
    def heartbeat(self) -> bytes:
        """The message that it still stands, but for its age."""
        return EndpointSet(revision=self._view.endpoints.revision, unchanged=True).SerializeToString()


class WatchServicer:
    """Tells what is published; ``age`` gives the seconds since the view was last known to be current."""

    def __init__(
        self,
        namespace: str,
        pool: str,
        tellings: Broadcast[Telling],
        age: Callable[[], float],
        *,
        heartbeat: float = _HEARTBEAT,
    ) -> None:
        self._ours = (namespace, pool)
        self._tellings = tellings
        self._age = age
        self._heartbeat = heartbeat

    def register(self, server: grpc.aio.Server) -> None:
        """Add the service to ``server``; its answers are bytes already."""
        watch: Any = grpc.unary_stream_rpc_method_handler(self._watch, WatchRequest.FromString)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Watch": watch}),))

    async def _watch(self, request: WatchRequest, context: _Context) -> None:
        refusal = refuse_others((request.namespace, request.service), self._ours)
        if refusal:
            await context.abort(refusal.code, refusal.details)
        told: Telling | None = None
        async with self._tellings.follower(context) as follower:
            while not follower.leaving:
                await follower.woken(self._heartbeat)
                latest = self._tellings.latest
                if latest is not None and not follower.leaving:
                    await follower.tell(self._now(latest, told))
                told = latest

    def _now(self, latest: Telling, told: Telling | None) -> bytes:
        """The message for a client that was last ``told`` that."""
        age = Duration()
        age.FromNanoseconds(int(self._age() * 1e9))
        body = latest.heartbeat if latest is told else latest.whole
        return body + EndpointSet(age=age).SerializeToString()

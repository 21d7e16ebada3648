"""Watch: stream a pool's endpoints and load balancing, with heartbeats while nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration

from backendpool.api.pool import PoolView
from backendpool.api.protobuf import message_of
from backendpool.lookaside.resolver import check_request
from backendpool.lookaside.topic import Topic
from backendpool.proto.v1.endpoints_pb2 import DESCRIPTOR, EndpointSet, WatchRequest

SERVICE: Final = DESCRIPTOR.services_by_name["Endpoints"].full_name

_HEARTBEAT_INTERVAL: Final = 10.0

_Context = grpc.aio.ServicerContext[WatchRequest, bytes]


class EncodedSnapshot:
    """A view of the pool, encoded once for all streams; the age is appended to each message when it is sent."""

    def __init__(self, view: PoolView) -> None:
        self.view = view

    @cached_property
    def full(self) -> bytes:
        return message_of(self.view).SerializeToString()

    @cached_property
    def heartbeat(self) -> bytes:
        """Return the heartbeat message: nothing changed."""
        return EndpointSet(revision=self.view.endpoints.revision, unchanged=True).SerializeToString()


class WatchServicer:
    """Serve ``topic``; ``age`` returns the seconds since the view was last known to be current."""

    def __init__(
        self,
        namespace: str,
        pool: str,
        topic: Topic[EncodedSnapshot],
        age: Callable[[], float],
        *,
        heartbeat: float = _HEARTBEAT_INTERVAL,
    ) -> None:
        self._pool = (namespace, pool)
        self._topic = topic
        self._age = age
        self._heartbeat = heartbeat

    def register(self, server: grpc.aio.Server) -> None:
        """Add the service to ``server`` without a serializer, since its messages are already encoded."""
        watch: Any = grpc.unary_stream_rpc_method_handler(self._watch, WatchRequest.FromString)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Watch": watch}),))

    async def _watch(self, request: WatchRequest, context: _Context) -> None:
        rejected = check_request((request.namespace, request.service), self._pool)
        if rejected:
            await context.abort(rejected.code, rejected.details)
        sent: EncodedSnapshot | None = None
        async with self._topic.subscribe(context) as subscriber:
            while not subscriber.closing:
                await subscriber.wait(self._heartbeat)
                latest = self._topic.latest
                if latest is not None and not subscriber.closing:
                    body = latest.heartbeat if latest is sent else latest.full
                    await subscriber.send(body + self._encoded_age())
                sent = latest

    def _encoded_age(self) -> bytes:
        age = Duration()
        age.FromNanoseconds(int(self._age() * 1e9))
        return EndpointSet(age=age).SerializeToString()

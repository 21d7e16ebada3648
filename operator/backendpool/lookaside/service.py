"""Resolve, as gRPC calls it."""

from __future__ import annotations

from collections.abc import Callable

from grpc import StatusCode
from grpc.aio import ServicerContext

from backendpool.lookaside.asked import Refusal
from backendpool.lookaside.resolver import Resolver
from backendpool.proto.lookaside import lookaside_pb2_grpc
from backendpool.proto.lookaside.lookaside_pb2 import Request, Response


class LookasideServicer(lookaside_pb2_grpc.LookasideServicer):
    """Answers from ``resolver``, and tells ``resolved`` each answer's status."""

    def __init__(self, resolver: Resolver, resolved: Callable[[StatusCode], None]) -> None:
        self._resolver = resolver
        self._resolved = resolved

    async def Resolve(  # noqa: N802 (the method's name on the wire)
        self, request: Request, context: ServicerContext[Request, Response]
    ) -> Response:
        answer = self._resolver.resolve(request)
        if isinstance(answer, Refusal):
            self._resolved(answer.code)
            await context.abort(answer.code, answer.details)
        self._resolved(StatusCode.OK)
        return Response(address=answer)

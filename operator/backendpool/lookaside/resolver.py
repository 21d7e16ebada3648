"""Resolve: return one address for one call."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from grpc import StatusCode
from grpc.aio import ServicerContext

from backendpool.api.constants import lookaside_name
from backendpool.api.endpoints import EndpointSet
from backendpool.proto.lookaside import lookaside_pb2_grpc
from backendpool.proto.lookaside.lookaside_pb2 import Request, Response


@dataclass(frozen=True, slots=True)
class RejectedRequest:
    """The gRPC status and message for a request that is rejected."""

    code: StatusCode
    details: str


def check_request(requested: tuple[str, str], served: tuple[str, str]) -> RejectedRequest | None:
    """Return why the requested Service is not served here, or None if it is."""
    (namespace, service), (served_namespace, served_service) = requested, served
    if not service:
        return RejectedRequest(
            StatusCode.INVALID_ARGUMENT, f"service is empty: expected the name of the Service, here {served_service}"
        )
    if not namespace:
        return RejectedRequest(
            StatusCode.INVALID_ARGUMENT,
            f"namespace is empty: expected the namespace of the Service, here {served_namespace}",
        )
    if requested != served:
        return RejectedRequest(
            StatusCode.NOT_FOUND,
            f"this server serves only {served_service} in namespace {served_namespace}: "
            "connect to the lookaside of the other pool",
        )
    return None


class Resolver:
    """Pick addresses of one pool. ``endpoints`` returns the current set, None before it is known.

    Round robin is exact over all clients: while the set does not change, n consecutive calls over n addresses return
    each address once. It starts at a random address, so that replicas that start together do not all return the same
    one first.
    """

    def __init__(self, namespace: str, pool: str, endpoints: Callable[[], EndpointSet | None]) -> None:
        self._namespace = namespace
        self._pool = pool
        self._endpoints = endpoints
        self._last_endpoints: EndpointSet | None = None
        self._hosts: tuple[str, ...] = ()
        self._picks = random.getrandbits(32)

    def resolve(self, request: Request) -> str | RejectedRequest:
        """Return a host, without a port, for one call."""
        if request.router not in (Request.RANDOM, Request.ROUNDROBIN):
            return RejectedRequest(
                StatusCode.INVALID_ARGUMENT, f"invalid router {request.router}: expected RANDOM (0) or ROUNDROBIN (1)"
            )
        rejected = check_request((request.namespace, request.service), (self._namespace, self._pool))
        if rejected:
            return rejected
        endpoints = self._endpoints()
        if endpoints is None:
            return RejectedRequest(
                StatusCode.UNAVAILABLE,
                f"the endpoints of {self._pool} are not known yet: retry; if this persists, "
                f"see the log of {lookaside_name(self._pool)}",
            )
        hosts = self._eligible_hosts(endpoints)
        if not hosts:
            return RejectedRequest(
                StatusCode.UNAVAILABLE,
                f"{self._pool} has no ready endpoint: "
                f"see `kubectl describe gbp {self._pool} --namespace {self._namespace}`",
            )
        if request.router == Request.RANDOM:
            return random.choice(hosts)
        self._picks += 1
        return hosts[self._picks % len(hosts)]

    def _eligible_hosts(self, endpoints: EndpointSet) -> tuple[str, ...]:
        """Return each eligible host once, even if it has several ports. Cached per set."""
        if endpoints is not self._last_endpoints:
            self._last_endpoints = endpoints
            self._hosts = tuple(dict.fromkeys(endpoint.address for endpoint in endpoints.eligible))
        return self._hosts


class LookasideServicer(lookaside_pb2_grpc.LookasideServicer):
    """Serve Resolve from ``resolver``; ``on_resolved`` gets the status of each answer."""

    def __init__(self, resolver: Resolver, on_resolved: Callable[[StatusCode], None]) -> None:
        self._resolver = resolver
        self._on_resolved = on_resolved

    async def Resolve(  # noqa: N802 (the method's name on the wire)
        self, request: Request, context: ServicerContext[Request, Response]
    ) -> Response:
        answer = self._resolver.resolve(request)
        if isinstance(answer, RejectedRequest):
            self._on_resolved(answer.code)
            await context.abort(answer.code, answer.details)
        self._on_resolved(StatusCode.OK)
        return Response(address=answer)

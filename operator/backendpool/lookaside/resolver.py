"""Which address answers a Resolve, or why none does. Pure but for the turn that it keeps."""

from __future__ import annotations

import random
from collections.abc import Callable

from grpc import StatusCode

from backendpool.api.constants import lookaside_name
from backendpool.api.endpoints import EndpointSet
from backendpool.lookaside.asked import Refusal, refuse_others
from backendpool.proto.lookaside.lookaside_pb2 import Request


class Resolver:
    """Picks for one pool. ``endpoints`` gives the current set, None as long as it is not known.

    The round robin is exact: over an unchanged set, any run of calls as long as the set gives each address
    once. It begins anywhere, so that servers which start together do not all send their first call to the
    same backend.
    """

    def __init__(self, namespace: str, pool: str, endpoints: Callable[[], EndpointSet | None]) -> None:
        self._namespace = namespace
        self._pool = pool
        self._endpoints = endpoints
        self._seen: EndpointSet | None = None
        self._addresses: tuple[str, ...] = ()
        self._turn = random.getrandbits(32)

    def resolve(self, request: Request) -> str | Refusal:
        """The host, without a port, for one call."""
        refusal = self._wrong(request)
        if refusal:
            return refusal
        endpoints = self._endpoints()
        if endpoints is None:
            return Refusal(
                StatusCode.UNAVAILABLE,
                f"the endpoints of {self._pool} are not known yet: try again, and if it stays so, "
                f"see the log of {lookaside_name(self._pool)}",
            )
        addresses = self._eligible(endpoints)
        if not addresses:
            return Refusal(
                StatusCode.UNAVAILABLE,
                f"{self._pool} has no ready endpoint: "
                f"see `kubectl describe gbp {self._pool} --namespace {self._namespace}`",
            )
        return self._pick(request.router, addresses)

    def _wrong(self, request: Request) -> Refusal | None:
        if request.router not in (Request.RANDOM, Request.ROUNDROBIN):
            return Refusal(
                StatusCode.INVALID_ARGUMENT, f"router {request.router} is unknown: give RANDOM (0) or ROUNDROBIN (1)"
            )
        return refuse_others((request.namespace, request.service), (self._namespace, self._pool))

    def _eligible(self, endpoints: EndpointSet) -> tuple[str, ...]:
        """Hosts that may take a call, each once; worked out once for each set."""
        if endpoints is not self._seen:
            self._seen = endpoints
            self._addresses = tuple(dict.fromkeys(endpoint.address for endpoint in endpoints.eligible))
        return self._addresses

    def _pick(self, router: Request.RouterType.ValueType, addresses: tuple[str, ...]) -> str:
        if router == Request.RANDOM:
            return random.choice(addresses)
        self._turn += 1
        return addresses[self._turn % len(addresses)]

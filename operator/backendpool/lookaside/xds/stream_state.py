"""The protocol state of one stream, in either variant. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)

from backendpool.lookaside.xds.names import ENDPOINTS, ROUTES, TYPES, WARMED_BY
from backendpool.lookaside.xds.snapshot import Snapshot
from backendpool.lookaside.xds.subscription import PendingResources, Subscription

_PARTIAL: Final = frozenset({ENDPOINTS, ROUTES})
"""Types whose state-of-the-world responses may omit resources, so that an omission does not mean deletion."""


@dataclass(frozen=True, slots=True)
class Ack:
    """A client's ACK or NACK of a response; ``error`` is empty for an ACK only."""

    type_url: str
    error: str = ""

    @classmethod
    def of(cls, request: DiscoveryRequest | DeltaDiscoveryRequest) -> Ack:
        """Read the ``error_detail`` of a request that answers a response."""
        nack = request.HasField("error_detail")
        return cls(request.type_url, (request.error_detail.message or "no reason given") if nack else "")


class StreamState(ABC):
    """The subscriptions of one stream by type, and the zone of its client (empty if unknown)."""

    __slots__ = ("_nonce", "_subscriptions", "zone")

    def __init__(self) -> None:
        self.zone = ""
        self._subscriptions: dict[str, Subscription] = {}
        self._nonce = 0

    @abstractmethod
    def handle_request(self, request: bytes) -> Ack | None:
        """Update the subscriptions; return the ACK or NACK if the request answers a response.

        Raises protobuf's ``DecodeError`` if the bytes are not a request.
        """

    def responses(self, snapshot: Snapshot) -> Iterator[bytes]:
        """Yield the responses to send now, in the order that the protocol requires; each counts as sent."""
        for subscription in [self._subscriptions[type_url] for type_url in TYPES if type_url in self._subscriptions]:
            pending = subscription.pending(snapshot)
            if pending is None:
                continue
            subscription.mark_sent(pending)
            response = self._encode(subscription, snapshot, pending)
            if response is not None:
                yield response
            dependent = self._subscriptions.get(WARMED_BY.get(subscription.type_url, ""))
            if pending.resources and dependent:
                dependent.resend_all()

    @abstractmethod
    def _encode(self, subscription: Subscription, snapshot: Snapshot, pending: PendingResources) -> bytes | None:
        """Return the response; None if the variant has nothing to send."""

    def _subscription(self, node: Node, type_url: str) -> Subscription | None:
        """Return the subscription of a request's type; None for types that are not served.

        Only the first request of a stream has to name its client's node.
        """
        self.zone = node.locality.zone or self.zone
        if type_url not in TYPES:
            return None
        return self._subscriptions.setdefault(type_url, Subscription(type_url))

    def _next_nonce(self) -> str:
        self._nonce += 1
        return str(self._nonce)


class SotwStream(StreamState):
    """State of the world (``StreamAggregatedResources``): each response holds all resources of its type.

    Versions that a client brings from another stream are ignored: some clients bring one and have dropped its
    resources (docs/adr/0008-complete-first-responses.md).
    """

    __slots__ = ("_last_nonces",)

    def __init__(self) -> None:
        super().__init__()
        self._last_nonces: dict[str, str] = {}

    def handle_request(self, request: bytes) -> Ack | None:
        parsed = DiscoveryRequest.FromString(request)
        subscription = self._subscription(parsed.node, parsed.type_url)
        if subscription is None:
            return None
        last_nonce = self._last_nonces.get(parsed.type_url)
        if last_nonce is not None and parsed.response_nonce != last_nonce:
            return None  # Stale. The client repeats its names when it answers the last response.
        subscription.set_names(parsed.resource_names)
        return None if last_nonce is None else Ack.of(parsed)

    def _encode(self, subscription: Subscription, snapshot: Snapshot, pending: PendingResources) -> bytes | None:
        if not pending.resources and subscription.type_url in _PARTIAL:
            return None
        nonce = self._last_nonces[subscription.type_url] = self._next_nonce()
        body = snapshot.sotw_response(subscription.type_url, subscription.resolve_names(snapshot))
        return body + DiscoveryResponse(nonce=nonce).SerializeToString()


class DeltaStream(StreamState):
    """Incremental (``DeltaAggregatedResources``): requests change the subscription, responses hold changes only."""

    __slots__ = ()

    def handle_request(self, request: bytes) -> Ack | None:
        parsed = DeltaDiscoveryRequest.FromString(request)
        is_first = parsed.type_url not in self._subscriptions
        subscription = self._subscription(parsed.node, parsed.type_url)
        if subscription is None:
            return None
        if is_first:
            subscription.set_names(parsed.resource_names_subscribe)
            subscription.set_initial_versions(parsed.initial_resource_versions)
        else:
            subscription.unsubscribe(parsed.resource_names_unsubscribe)
            subscription.subscribe(parsed.resource_names_subscribe)
        return Ack.of(parsed) if parsed.response_nonce else None

    def _encode(self, subscription: Subscription, snapshot: Snapshot, pending: PendingResources) -> bytes:
        head = DeltaDiscoveryResponse(
            type_url=subscription.type_url, removed_resources=pending.removed, nonce=self._next_nonce()
        )
        return b"".join([head.SerializeToString(), *(resource.delta_bytes for resource in pending.resources)])

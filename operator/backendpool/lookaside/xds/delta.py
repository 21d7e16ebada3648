"""Delta: a client says what it wants more or less of, and is sent only what it lacks. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from backendpool.lookaside.xds.conversation import Books, Verdict
from backendpool.lookaside.xds.names import TYPES
from backendpool.lookaside.xds.snapshot import Publication


class DeltaConversation:
    """One stream of ``DeltaAggregatedResources``."""

    __slots__ = ("_books",)

    def __init__(self) -> None:
        self._books = Books()

    def take(self, request: bytes) -> Verdict | None:
        """A request says what is wanted more or less, or what became of a response, or both."""
        said = DeltaDiscoveryRequest.FromString(request)
        self._books.meet(said.node)
        if said.type_url not in TYPES:
            return None
        is_new = self._books.is_new(said.type_url)
        interest = self._books.interest(said.type_url)
        if is_new:
            interest.want(said.resource_names_subscribe)
            interest.has(said.initial_resource_versions)
        else:
            interest.unsubscribe(said.resource_names_unsubscribe)
            interest.subscribe(said.resource_names_subscribe)
        if not said.response_nonce:
            return None
        return Verdict.of(said.type_url, said.error_detail if said.HasField("error_detail") else None)

    def responses(self, publication: Publication) -> Iterator[bytes]:
        """What is lacking of each type, and what is not there, or not any more."""
        for interest, _, due in self._books.due(publication):
            head = DeltaDiscoveryResponse(
                type_url=interest.type_url, removed_resources=due.absent, nonce=self._books.nonce()
            )
            yield b"".join([head.SerializeToString(), *(one.incremental for one in due.resources)])

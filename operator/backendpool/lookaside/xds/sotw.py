"""State of the world: a client says all that it wants, and is sent all of it whenever a part changes. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from backendpool.lookaside.xds.conversation import Books, Verdict
from backendpool.lookaside.xds.names import ENDPOINTS, ROUTES, TYPES
from backendpool.lookaside.xds.snapshot import Publication

_PARTIAL: Final = frozenset({ENDPOINTS, ROUTES})
"""Types of which a response may leave things out, so that it cannot say that something is not there."""


class SotwConversation:
    """One stream of ``StreamAggregatedResources``."""

    __slots__ = ("_books", "_nonces")

    def __init__(self) -> None:
        self._books = Books()
        self._nonces: dict[str, str] = {}

    def take(self, request: bytes) -> Verdict | None:
        """A request says what is wanted, and what became of the last response of its type.

        One that speaks of an earlier response is passed over: its client had not seen the last one yet, and will say
        all of it again when it has. A version that a client brings from another stream is not looked at: some bring
        one and have let go of what it stands for (docs/adr/0008-first-answers-are-whole.md).
        """
        said = DiscoveryRequest.FromString(request)
        self._books.meet(said.node)
        if said.type_url not in TYPES:
            return None
        nonce = self._nonces.get(said.type_url)
        if nonce is not None and said.response_nonce != nonce:
            return None
        self._books.interest(said.type_url).want(said.resource_names)
        if nonce is None:
            return None
        return Verdict.of(said.type_url, said.error_detail if said.HasField("error_detail") else None)

    def responses(self, publication: Publication) -> Iterator[bytes]:
        """All that is wanted of each type of which a part is due."""
        for interest, snapshot, due in self._books.due(publication):
            if not due.resources and interest.type_url in _PARTIAL:
                continue
            nonce = self._nonces[interest.type_url] = self._books.nonce()
            state = snapshot.state(interest.type_url, interest.names(snapshot))
            yield state + DiscoveryResponse(nonce=nonce).SerializeToString()

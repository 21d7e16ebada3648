"""What a stream says and is told, whichever variant of the protocol it speaks. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from envoy.config.core.v3.base_pb2 import Node
from google.rpc.status_pb2 import Status

from backendpool.lookaside.xds.interest import Due, Interest
from backendpool.lookaside.xds.names import REFERRED, TYPES
from backendpool.lookaside.xds.snapshot import Publication, Snapshot


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a client makes of a response: ``problem`` is why it was refused, empty where it was taken."""

    type_url: str
    problem: str

    @classmethod
    def of(cls, type_url: str, error: Status | None) -> Verdict:
        """By the request's ``error_detail``, None where it has none."""
        return cls(type_url, (error.message or "no reason given") if error else "")


class Conversation(Protocol):
    """One stream's side of the protocol."""

    def take(self, request: bytes) -> Verdict | None:
        """The client said that, maybe about a response; raises protobuf's ``DecodeError`` for what is no request."""

    def responses(self, publication: Publication) -> Iterator[bytes]:
        """What is to be told now, in this order; what is taken from the iterator counts as told."""


class Books:
    """All interests of a stream, and where its client is."""

    __slots__ = ("_interests", "_told", "_zone")

    def __init__(self) -> None:
        self._zone = ""
        self._interests: dict[str, Interest] = {}
        self._told = 0

    def meet(self, node: Node) -> None:
        """The first request of a stream names the client; those after it need not."""
        self._zone = node.locality.zone or self._zone

    def is_new(self, type_url: str) -> bool:
        """Whether nothing was asked for of that type yet."""
        return type_url not in self._interests

    def interest(self, type_url: str) -> Interest:
        """That of the type, made where it is new."""
        if type_url not in self._interests:
            self._interests[type_url] = Interest(type_url)
        return self._interests[type_url]

    def nonce(self) -> str:
        """The name of the next response."""
        self._told += 1
        return str(self._told)

    def due(self, publication: Publication) -> Iterator[tuple[Interest, Snapshot, Due]]:
        """What is to be sent of each type, in order; what is taken from the iterator counts as sent."""
        snapshot = publication.snapshot(self._zone)
        for interest in [self._interests[type_url] for type_url in TYPES if type_url in self._interests]:
            due = interest.due(snapshot)
            if due is None:
                continue
            interest.sent(due)
            yield interest, snapshot, due
            referred = self._interests.get(REFERRED.get(interest.type_url, ""))
            if due.resources and referred:
                referred.forget()

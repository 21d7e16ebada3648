"""What one stream wants of one type of resources, what it has, and what it is therefore to be sent. Pure.

Both variants of the protocol keep the same books. They differ in how a client says what it wants, and in whether it is
then sent all that it wants or only what it lacks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from backendpool.lookaside.xds.names import CLUSTER, LISTENER
from backendpool.lookaside.xds.snapshot import Resource, Snapshot

WILDCARD: Final = "*"
"""Asks for all that there is, as does a first request without a name for one of these types."""
_ALL_UNLESS_NAMED: Final = frozenset({CLUSTER, LISTENER})


@dataclass(frozen=True, slots=True)
class Due:
    """What a stream lacks: resources that it has not, or has in another version, and names that there is nothing of."""

    resources: tuple[Resource, ...]
    absent: tuple[str, ...]


class Interest:
    """The books of one type on one stream."""

    __slots__ = ("_held", "_named", "_unanswered", "_wanted", "type_url")

    def __init__(self, type_url: str) -> None:
        self.type_url = type_url
        self._wanted: frozenset[str] = frozenset()
        self._held: dict[str, str | None] = {}
        self._named = False
        self._unanswered = False

    def want(self, names: Iterable[str]) -> None:
        """The client wants these and no others."""
        asked = frozenset(names)
        self._named = self._named or bool(asked)
        if not self._named and self.type_url in _ALL_UNLESS_NAMED:
            asked = frozenset({WILDCARD})
        self.unsubscribe(self._wanted - asked)
        self.subscribe(asked - self._wanted)

    def subscribe(self, names: Iterable[str]) -> None:
        """The client wants these as well. What it asks for again it is sent again, for it has let go of it."""
        asked = frozenset(names)
        self._wanted |= asked
        self._let_go(asked)
        # Who asks for all that there is is told also where there is nothing.
        self._unanswered = self._unanswered or WILDCARD in asked

    def unsubscribe(self, names: Iterable[str]) -> None:
        """The client does not want these any more, and has let go of them."""
        left = frozenset(names)
        self._wanted -= left
        self._let_go(self._held.keys() - self._wanted if WILDCARD in left else left)

    def has(self, versions: Mapping[str, str]) -> None:
        """The client has these from another stream."""
        self._held.update(versions)

    def forget(self) -> None:
        """The client waits for all of it again."""
        self._held.clear()

    def names(self, snapshot: Snapshot) -> frozenset[str]:
        """All that the client is to have."""
        named = self._wanted - {WILDCARD}
        return named | snapshot.all_names(self.type_url) if WILDCARD in self._wanted else named

    def due(self, snapshot: Snapshot) -> Due | None:
        """What is to be sent, None where there is nothing to say."""
        names = self.names(snapshot)
        resources: list[Resource] = []
        absent: list[str] = []
        for name in sorted(names | self._held.keys()):
            found = snapshot.find(self.type_url, name) if name in names else None
            held = self._held.get(name, "")
            if found is None and held is not None:
                absent.append(name)
            elif found is not None and held != found.version:
                resources.append(found)
        if not (resources or absent or self._unanswered):
            return None
        return Due(tuple(resources), tuple(absent))

    def sent(self, due: Due) -> None:
        """The client has been sent all of it."""
        self._held.update({one.name: one.version for one in due.resources})
        self._held.update(dict.fromkeys(due.absent))
        self._unanswered = False

    def _let_go(self, names: Iterable[str]) -> None:
        for name in tuple(names):
            self._held.pop(name, None)

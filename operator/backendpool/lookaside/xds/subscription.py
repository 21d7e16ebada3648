"""The resources of one type that a stream subscribed to, and the versions that its client has. Pure.

Both protocol variants keep the same state. They differ in how a client names resources, and in whether a response
holds all resources (state of the world) or only those that the client lacks (delta).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from backendpool.lookaside.xds.names import CLUSTER, LISTENER
from backendpool.lookaside.xds.snapshot import Resource, Snapshot

WILDCARD: Final = "*"
_LEGACY_WILDCARD: Final = frozenset({CLUSTER, LISTENER})
"""Types for which a first request without names means the wildcard: all resources."""


@dataclass(frozen=True, slots=True)
class PendingResources:
    """The content of the next response: new or changed resources, and names of resources that do not exist."""

    resources: tuple[Resource, ...]
    removed: tuple[str, ...]


class Subscription:
    """One stream's subscription to one type of resource."""

    __slots__ = ("_legacy_wildcard", "_names", "_versions", "_wildcard_unanswered", "type_url")

    def __init__(self, type_url: str) -> None:
        self.type_url = type_url
        self._names: frozenset[str] = frozenset()
        # Versions that the client has, by name; None once a response said that the resource does not exist.
        self._versions: dict[str, str | None] = {}
        self._legacy_wildcard = type_url in _LEGACY_WILDCARD
        self._wildcard_unanswered = False

    def set_names(self, names: Iterable[str]) -> None:
        """Subscribe to exactly these names, as a state-of-the-world request does."""
        wanted = frozenset(names)
        if wanted:
            self._legacy_wildcard = False  # From now on, a request without names subscribes to nothing.
        elif self._legacy_wildcard:
            wanted = frozenset({WILDCARD})
        self.unsubscribe(self._names - wanted)
        self.subscribe(wanted - self._names)

    def subscribe(self, names: Iterable[str]) -> None:
        """Add names. A name that is subscribed already is sent again, since the client has dropped its resource."""
        added = frozenset(names)
        self._names |= added
        self._forget(added)
        # A wildcard gets a response even if it matches nothing.
        self._wildcard_unanswered = self._wildcard_unanswered or WILDCARD in added

    def unsubscribe(self, names: Iterable[str]) -> None:
        """Remove names; the client has dropped their resources."""
        removed = frozenset(names)
        self._names -= removed
        self._forget(self._versions.keys() - self._names if WILDCARD in removed else removed)

    def set_initial_versions(self, versions: Mapping[str, str]) -> None:
        """Note the versions that the client has from another stream."""
        self._versions.update(versions)

    def resend_all(self) -> None:
        """Send every resource again, whatever the client has."""
        self._versions.clear()

    def resolve_names(self, snapshot: Snapshot) -> frozenset[str]:
        """Return the names subscribed to, with the wildcard replaced by those that it matches."""
        names = self._names - {WILDCARD}
        return names | snapshot.wildcard_names(self.type_url) if WILDCARD in self._names else names

    def pending(self, snapshot: Snapshot) -> PendingResources | None:
        """Compare ``snapshot`` with the client's versions; None if there is nothing to send."""
        names = self.resolve_names(snapshot)
        resources: list[Resource] = []
        removed: list[str] = []
        for name in sorted(names | self._versions.keys()):
            resource = snapshot.resource(self.type_url, name) if name in names else None
            version = self._versions.get(name, "")
            if resource is None and version is not None:
                removed.append(name)
            elif resource is not None and version != resource.version:
                resources.append(resource)
        if not (resources or removed or self._wildcard_unanswered):
            return None
        return PendingResources(tuple(resources), tuple(removed))

    def mark_sent(self, pending: PendingResources) -> None:
        """Note that ``pending`` was sent."""
        self._versions.update({resource.name: resource.version for resource in pending.resources})
        self._versions.update(dict.fromkeys(pending.removed))
        self._wildcard_unanswered = False

    def _forget(self, names: Iterable[str]) -> None:
        for name in tuple(names):
            self._versions.pop(name, None)

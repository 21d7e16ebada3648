"""EndpointSlices: parsing, the union of a Service's slices, and a tracker with a removal grace. Pure.

The rules are those of the EndpointSlice API for its consumers (KEP-752 for slices, KEP-1672 for terminating
endpoints): a Service's backends are the union of all its slices, an endpoint may be in two of them while it moves, and
a condition that is not set has a default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from sys import intern
from typing import Any, Final, TypeAlias

from backendpool.api.constants import PORT_NAME, SERVICE_NAME_LABEL
from backendpool.api.endpoints import Endpoint, EndpointSet, EndpointState

REMOVAL_GRACE_SECONDS: Final = 0.05

CallLater: TypeAlias = Callable[[float, Callable[[], None]], object]
"""Schedules a callback after a number of seconds, like an event loop's ``call_later``."""


@dataclass(frozen=True, slots=True)
class Slice:
    """The part of an EndpointSlice that is kept: its Service and its Ready and Draining endpoints.

    ``owner_uid`` is the UID of the Service that the slice was made for, empty in a slice made by hand. ``created`` is
    the creation time by RFC 3339 in UTC, so that strings compare as times. ``unlisted`` are the addresses of the other
    endpoints.
    """

    namespace: str
    name: str
    service: str
    family: str
    endpoints: tuple[Endpoint, ...]
    owner_uid: str = ""
    unlisted: frozenset[str] = frozenset()
    created: str = ""

    def addresses(self) -> Iterator[str]:
        """Iterate over the addresses of all endpoints, listed or not."""
        yield from (endpoint.address for endpoint in self.endpoints)
        yield from self.unlisted


def parse_slice(obj: Mapping[str, Any]) -> Slice:
    """Parse a ``discovery.k8s.io/v1`` EndpointSlice, made by the cluster or by hand."""
    meta = obj["metadata"]
    port = _port(obj.get("ports") or ())
    items = [item for item in obj.get("endpoints") or () if item.get("addresses")]
    found = (_endpoint(item, port) for item in items) if port is not None else ()
    endpoints = tuple(endpoint for endpoint in found if endpoint is not None)
    return Slice(
        namespace=meta["namespace"],
        name=meta["name"],
        service=(meta.get("labels") or {}).get(SERVICE_NAME_LABEL, ""),
        family=obj.get("addressType", ""),
        endpoints=endpoints,
        owner_uid=next((r["uid"] for r in meta.get("ownerReferences") or () if r["kind"] == "Service"), ""),
        unlisted=frozenset(map(_address, items)).difference(endpoint.address for endpoint in endpoints),
        created=meta.get("creationTimestamp") or "",
    )


def select_current(slices: Iterable[Slice], service_uid: str = "") -> list[Slice]:
    """Drop the slices of a deleted Service of the same name; slices made by hand stay.

    For a while, a Service that was deleted and recreated has slices of both. Without ``service_uid`` the youngest slice
    decides: the cluster makes slices only for a Service that exists. If both Services were created in the same second,
    both count for as long as both have slices.
    """
    found = list(slices)
    youngest = max((one.created for one in found if one.owner_uid), default="")
    owners = {service_uid} if service_uid else {one.owner_uid for one in found if one.created == youngest}
    return [one for one in found if not one.owner_uid or one.owner_uid in owners]


def union(slices: Iterable[Slice]) -> EndpointSet:
    """Unite the slices of one Service: those of one address family, IPv4 if there is any.

    A pool's Service has one family only, the cluster's first, and so have its slices. FQDN slices name no pods and are
    ignored.
    """
    usable = [s for s in slices if s.family in ("IPv4", "IPv6")]
    wanted = min((s.family for s in usable), default="IPv4")
    return EndpointSet.of(endpoint for s in usable if s.family == wanted for endpoint in s.endpoints)


def _port(ports: Iterable[Mapping[str, Any]]) -> int | None:
    """The pool's Service has a port of a known name; in a slice made by hand, the only port. None means "all ports"."""
    numbered = [p for p in ports if p.get("port")]
    named = [p for p in numbered if p.get("name") == PORT_NAME]
    chosen = named or (numbered if len(numbered) == 1 else [])
    return int(chosen[0]["port"]) if chosen else None


def _endpoint(item: Mapping[str, Any], port: int) -> Endpoint | None:
    state = _state(item.get("conditions") or {})
    if state is None:
        return None
    target = item.get("targetRef") or {}
    is_pod = target.get("kind") == "Pod"
    return Endpoint(
        address=_address(item),
        port=port,
        pod_uid=target.get("uid", "") if is_pod else "",
        pod_name=target.get("name", "") if is_pod else "",
        # Few nodes and zones serve many endpoints: keep each name once.
        node_name=intern(item.get("nodeName") or ""),
        zone=intern(item.get("zone") or ""),
        state=state,
    )


def _address(item: Mapping[str, Any]) -> str:
    """The addresses of one endpoint are fungible; consumers use the first (EndpointSlice API)."""
    first: str = item["addresses"][0]
    return first


def _state(conditions: Mapping[str, bool | None]) -> EndpointState | None:
    """Return None if the endpoint must not be listed. Unset, ready is true and serving is the value of ready."""
    ready = conditions.get("ready")
    ready = True if ready is None else ready
    serving = conditions.get("serving")
    serving = ready if serving is None else serving
    if conditions.get("terminating"):
        return EndpointState.DRAINING if serving else None
    return EndpointState.READY if ready else None


class SliceTracker:
    """Tracks the slices of one Service, with a removal grace of :data:`REMOVAL_GRACE_SECONDS`.

    The cluster moves endpoints between slices, each slice is written separately, and a watch may report that an
    endpoint left one before it reports that it joined another. A pod that is going becomes unready or terminates before
    it leaves. So an endpoint that was Ready and whose address is in no slice any longer is kept for the grace.
    ``changed`` is called after each change of the endpoints.
    """

    def __init__(self, changed: Callable[[], None], call_later: CallLater) -> None:
        self._changed = changed
        self._call_later = call_later
        self._slices: dict[str, Slice] = {}
        self._removed: dict[object, Slice] = {}

    def __iter__(self) -> Iterator[Slice]:
        return iter((*self._slices.values(), *self._removed.values()))

    def __len__(self) -> int:
        return len(self._slices) + len(self._removed)

    def put(self, new: Slice) -> None:
        """Add or replace a slice."""
        self._replace(new.name, new)

    def delete(self, name: str) -> None:
        """Delete a slice."""
        self._replace(name, None)

    def _replace(self, name: str, new: Slice | None) -> None:
        old = self._slices.pop(name, None)
        before = _content([old, *self._removed.values()])
        if new is not None:
            self._slices[name] = new
            self._drop_removed(frozenset(new.addresses()))
        if old is not None:
            self._keep_removed(old)
        if _content([new, *self._removed.values()]) != before:
            self._changed()

    def _keep_removed(self, old: Slice) -> None:
        """Keep the endpoints that were Ready in ``old`` and are in no slice now."""
        gone = {endpoint.address for endpoint in old.endpoints if endpoint.state is EndpointState.READY}
        for one in reversed(self._slices.values()):  # the slice that replaced ``old`` has nearly all of them
            gone.difference_update(one.addresses())
            if not gone:
                break
        if gone:
            removal = object()
            self._removed[removal] = replace(old, endpoints=tuple(e for e in old.endpoints if e.address in gone))
            self._call_later(REMOVAL_GRACE_SECONDS, partial(self._expire, removal))

    def _drop_removed(self, addresses: frozenset[str]) -> None:
        """Let a slice that has these addresses decide about them, even if it does not list them."""
        for removal, removed in tuple(self._removed.items()):
            left = tuple(endpoint for endpoint in removed.endpoints if endpoint.address not in addresses)
            if left:
                self._removed[removal] = replace(removed, endpoints=left)
            else:
                del self._removed[removal]

    def _expire(self, removal: object) -> None:
        if self._removed.pop(removal, None) is not None:
            self._changed()


def _content(slices: Iterable[Slice | None]) -> frozenset[tuple[str, str, object]]:
    """The endpoints, and the family, Service and age of each slice, which count even if the slice is empty."""
    return frozenset(
        (one.family, one.owner_uid, item) for one in slices if one is not None for item in (one.created, *one.endpoints)
    )

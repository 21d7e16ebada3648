"""The endpoint algebra: from EndpointSlices to one sorted set of backends. Pure, no I/O.

The rules are those that the EndpointSlice API asks of its consumers (KEP-752 for slices, KEP-1672 for
terminating endpoints): a Service's backends are the union of all its slices, an endpoint may stand in two
of them while it moves, and a condition that is not set has a default.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from sys import intern
from typing import Any

from backendpool.api.constants import PORT_NAME, SERVICE_NAME_LABEL


class EndpointState(StrEnum):
    """What may be done with a backend."""

    READY = "Ready"
    """It takes new calls."""
    DRAINING = "Draining"
    """It is going, and still serves: calls under way finish, new ones only where nothing is Ready."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One backend: a pod's address and port, and where it runs.

    ``zone``, ``node_name``, ``pod_name`` and ``pod_uid`` are empty where the slice does not say. ``weight`` is what it
    can take in relation to the others, and 0 where nobody says: a cluster does not.
    """

    address: str
    port: int
    pod_uid: str = ""
    pod_name: str = ""
    node_name: str = ""
    zone: str = ""
    state: EndpointState = EndpointState.READY
    weight: int = 0

    @property
    def identity(self) -> tuple[str, int, str]:
        """What makes it the same backend: an address that another pod got is another backend."""
        return (self.address, self.port, self.pod_uid)

    @property
    def target(self) -> str:
        """``host:port`` in gRPC's name syntax."""
        return join_host_port(self.address, self.port)


def join_host_port(host: str, port: int) -> str:
    """Join ``host:port``, with brackets around an IPv6 host (RFC 3986, section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class EndpointSet:
    """All backends of a pool at one moment, sorted; equal content has an equal ``revision``.

    Made by :meth:`of`. ``revision`` always names the whole set, also where ``endpoints`` was truncated.
    """

    endpoints: tuple[Endpoint, ...]
    revision: str
    truncated: bool = False

    @classmethod
    def of(cls, endpoints: Iterable[Endpoint]) -> EndpointSet:
        """Sort, keep one endpoint for each address and port, and name the content."""
        best: dict[tuple[str, int], Endpoint] = {}
        for endpoint in endpoints:
            key = (endpoint.address, endpoint.port)
            rival = best.get(key)
            if rival is None or _preference(endpoint) > _preference(rival):
                best[key] = endpoint
        ordered = tuple(best[key] for key in sorted(best))
        return cls(ordered, _revision(ordered))

    @property
    def ready(self) -> tuple[Endpoint, ...]:
        return tuple(e for e in self.endpoints if e.state is EndpointState.READY)

    @property
    def draining(self) -> tuple[Endpoint, ...]:
        return tuple(e for e in self.endpoints if e.state is EndpointState.DRAINING)

    @property
    def eligible(self) -> tuple[Endpoint, ...]:
        """Those that a new call may go to: the Ready ones, and the Draining ones only where none is Ready.

        The same fallback as kube-proxy's for terminating endpoints (KEP-1669).
        """
        return self.ready or self.endpoints


@dataclass(frozen=True, slots=True)
class Slice:
    """What is kept of an EndpointSlice: its Service and its listable endpoints.

    ``owner_uid`` is the UID of the Service that it was made for, empty in a slice made by hand; ``created`` is when, in
    UTC by RFC 3339, so that texts compare as times do. ``unlisted`` are the addresses of its other endpoints.
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
        """Of all that it names, listable or not."""
        yield from (endpoint.address for endpoint in self.endpoints)
        yield from self.unlisted


def parse_slice(obj: Mapping[str, Any]) -> Slice:
    """Read a ``discovery.k8s.io/v1`` EndpointSlice, made by the cluster or by hand."""
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


def of_service(slices: Iterable[Slice], uid: str = "") -> list[Slice]:
    """Of slices that name one Service, those of the Service that is there now, and those made by hand.

    A Service that was deleted and made again has slices of both for a while. Whoever does not know the ``uid`` goes by
    the youngest slice: the cluster makes one only for a Service that is there, and the first ended before the second
    began. Of two that begin in the same second both count, for as long as both have slices.
    """
    found = list(slices)
    youngest = max((one.created for one in found if one.owner_uid), default="")
    owners = {uid} if uid else {one.owner_uid for one in found if one.created == youngest}
    return [one for one in found if not one.owner_uid or one.owner_uid in owners]


def union(slices: Iterable[Slice]) -> EndpointSet:
    """The backends of one Service: all its slices of one address family, IPv4 if any is.

    Our own Services have one family only, the cluster's first, and so have their slices. FQDN slices name no pods and
    are passed over.
    """
    usable = [s for s in slices if s.family in ("IPv4", "IPv6")]
    wanted = min((s.family for s in usable), default="IPv4")
    return EndpointSet.of(endpoint for s in usable if s.family == wanted for endpoint in s.endpoints)


def _port(ports: Iterable[Mapping[str, Any]]) -> int | None:
    """Our own Service's port by its name; the only one in a slice made by hand; None for "all ports"."""
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
        # Few nodes and zones serve many endpoints: each name is held once.
        node_name=intern(item.get("nodeName") or ""),
        zone=intern(item.get("zone") or ""),
        state=state,
    )


def _address(item: Mapping[str, Any]) -> str:
    """The addresses of one endpoint are interchangeable; consumers take the first (the API's own words)."""
    first: str = item["addresses"][0]
    return first


def _state(conditions: Mapping[str, bool | None]) -> EndpointState | None:
    """None where it must not be listed. An unset ready means ready, an unset serving means as ready."""
    ready = conditions.get("ready")
    ready = True if ready is None else ready
    serving = conditions.get("serving")
    serving = ready if serving is None else serving
    if conditions.get("terminating"):
        return EndpointState.DRAINING if serving else None
    return EndpointState.READY if ready else None


def _preference(endpoint: Endpoint) -> tuple[object, ...]:
    """Of two views of one address: Ready wins, then one that names its pod; the rest is for determinism."""
    return (endpoint.state is EndpointState.READY, bool(endpoint.pod_uid), _content(endpoint))


def _revision(endpoints: tuple[Endpoint, ...]) -> str:
    return hashlib.sha256(repr([_content(endpoint) for endpoint in endpoints]).encode()).hexdigest()[:16]


def _content(e: Endpoint) -> tuple[str | int, ...]:
    """Field by field: dataclasses.astuple copies deeply, which takes ten times as long."""
    content = (e.address, e.port, e.pod_uid, e.pod_name, e.node_name, e.zone, e.state.value)
    return (*content, e.weight) if e.weight else content

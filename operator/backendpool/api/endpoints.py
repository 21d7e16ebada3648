"""Endpoints and sets of them, as they flow from EndpointSlices to calls. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class EndpointState(StrEnum):
    """Whether a backend takes calls."""

    READY = "Ready"
    """It takes new calls."""
    DRAINING = "Draining"
    """Terminating and still serving: calls in flight finish, new ones only go there if no endpoint is Ready."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One backend: a pod's address and port, and where it runs.

    ``zone``, ``node_name``, ``pod_name`` and ``pod_uid`` are empty if unknown. ``weight`` is relative to the other
    endpoints, and 0 if unknown: EndpointSlices have none.
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
        """What two endpoints share if they are the same backend: a reused address of another pod is a new backend."""
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
    """A snapshot of a pool's backends, sorted; equal content has an equal ``revision``.

    Made by :meth:`of`. ``revision`` identifies the whole set, even if ``endpoints`` is truncated.
    """

    endpoints: tuple[Endpoint, ...]
    revision: str
    truncated: bool = False

    @classmethod
    def of(cls, endpoints: Iterable[Endpoint]) -> EndpointSet:
        """Sort the endpoints, keep one per address and port, and compute the revision."""
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
        """The endpoints for new calls: the Ready ones, or the Draining ones if none is Ready.

        This is kube-proxy's fallback for terminating endpoints (KEP-1669).
        """
        return self.ready or self.endpoints


def _preference(endpoint: Endpoint) -> tuple[object, ...]:
    """Rank endpoints of one address: Ready first, then one that names its pod; the rest is for determinism."""
    return (endpoint.state is EndpointState.READY, bool(endpoint.pod_uid), _content(endpoint))


def _revision(endpoints: tuple[Endpoint, ...]) -> str:
    return hashlib.sha256(repr([_content(endpoint) for endpoint in endpoints]).encode()).hexdigest()[:16]


def _content(e: Endpoint) -> tuple[str | int, ...]:
    """Yield the fields. dataclasses.astuple would make deep copies, which takes ten times as long."""
    content = (e.address, e.port, e.pod_uid, e.pod_name, e.node_name, e.zone, e.state.value)
    return (*content, e.weight) if e.weight else content

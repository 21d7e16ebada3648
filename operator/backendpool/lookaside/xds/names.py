"""The served resource types, and the names by which clients may request a pool's resources. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from backendpool.api.spec import MAX_PORT

_PREFIX: Final = "type.googleapis.com/"

CLUSTER: Final = f"{_PREFIX}envoy.config.cluster.v3.Cluster"
ENDPOINTS: Final = f"{_PREFIX}envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER: Final = f"{_PREFIX}envoy.config.listener.v3.Listener"
ROUTES: Final = f"{_PREFIX}envoy.config.route.v3.RouteConfiguration"

TYPES: Final = (CLUSTER, ENDPOINTS, LISTENER, ROUTES)
"""In make-before-break order: a resource is sent before those that refer to it."""

WARMED_BY: Final = {CLUSTER: ENDPOINTS, LISTENER: ROUTES}
"""Pairs of types whose second is sent again after the first: clients do not use ("warm") a new resource before they
receive the one that it refers to, even if they already have that."""


def short_type(type_url: str) -> str:
    """Return the type without its package, for logs and metrics; ``other`` for types that are not served."""
    return type_url.rpartition(".")[2] if type_url in TYPES else "other"


@dataclass(frozen=True, slots=True)
class PoolName:
    """The names of a pool in xDS: ``pool`` or ``pool.namespace``, either with or without ``:port``.

    The port is ignored, since a pool has only one: ``xds:///greetserver:50051`` is the same as ``xds:///greetserver``.
    """

    namespace: str
    pool: str

    def __str__(self) -> str:
        """Return the name by which the pool's resources refer to each other."""
        return f"{self.pool}.{self.namespace}"

    def matches(self, name: str) -> bool:
        """Return whether ``name`` is one of this pool's names."""
        host, colon, port = name.partition(":")
        return host in (self.pool, str(self)) and (not colon or _is_port(port))


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 1 <= int(text) <= MAX_PORT

"""What a client may call the pool, and the types of resources that it may ask for. Pure."""

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
"""In the order in which they are best told, so that nothing refers to what is not there yet ("make before break")."""

REFERRED: Final = {CLUSTER: ENDPOINTS, LISTENER: ROUTES}
"""What a resource refers to. A client that gets a new one waits for that as if it had none of it ("warming"), so it has
to be sent again."""


def short(type_url: str) -> str:
    """The type without its package, for logs and metrics; ``other`` for what no client of ours has to do with."""
    return type_url.rpartition(".")[2] if type_url in TYPES else "other"


@dataclass(frozen=True, slots=True)
class PoolName:
    """The pool by each name that a client may use: ``pool`` or ``pool.namespace``, with or without ``:port``.

    A pool has one port, which a client need not know. One that is there anyway, as in ``xds:///greetserver:50051``,
    leads to the same.
    """

    namespace: str
    pool: str

    def __str__(self) -> str:
        """The name by which the pool's resources refer to each other."""
        return f"{self.pool}.{self.namespace}"

    def is_meant_by(self, name: str) -> bool:
        """Whether a resource of that name is this pool's."""
        host, colon, port = name.partition(":")
        return host in (self.pool, str(self)) and (not colon or _is_port(port))


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 1 <= int(text) <= MAX_PORT

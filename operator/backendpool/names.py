"""The names that are seen from outside: the API group, labels, ports and children of a pool.

They stand in one place because manifests, clients and other people's dashboards depend on them.
"""

from typing import Final

GROUP: Final = "backendpool.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "GrpcBackendPool"
PLURAL: Final = "grpcbackendpools"

FIELD_MANAGER: Final = "backendpool"
"""The one field manager of all server-side applies (KEP-555)."""

POOL_LABEL: Final = "backendpool.io/pool"
"""On every child, and copied by the cluster from the Service to its EndpointSlices."""

COMPONENT_LABEL: Final = "app.kubernetes.io/component"
BACKENDS: Final = "backends"
"""The component that the headless Service is: its EndpointSlices are told by it from the lookaside's."""

DIGEST_ANNOTATION: Final = "backendpool.io/applied-digest"
"""On every child: a digest of what was last applied, so that a restarted operator need not apply again."""

SERVICE_NAME_LABEL: Final = "kubernetes.io/service-name"
"""On every EndpointSlice: its Service (KEP-752)."""

PORT_NAME: Final = "grpc"
"""The one port of the headless Service, whose number each EndpointSlice resolves for its own pods."""

LOOKASIDE_PORT: Final = 50055
METRICS_PORT: Final = 9090

MAX_POOL_NAME: Final = 53
"""Characters: a Service name has at most 63 (RFC 1035), and ``-lookaside`` takes ten."""

MAX_STATUS_ENDPOINTS: Final = 1000
"""The status lists no more: about 250 bytes each, well under etcd's 1.5 MiB; the lookaside serves all."""


def lookaside_name(pool: str) -> str:
    """The name of a pool's lookaside Deployment, Service, ServiceAccount, Role and budget."""
    return f"{pool}-lookaside"


def reader_name(pool: str) -> str:
    """The name of the Role and RoleBinding that let ``spec.readers`` read the pool."""
    return f"{pool}-reader"

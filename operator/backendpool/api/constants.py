"""The names that are seen from outside: the API group, labels, ports and children of a pool.

They stand in one place because manifests, clients and other people's dashboards depend on them.
"""

import re
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

MAX_STATUS_ENDPOINTS: Final = 1000
"""The status lists no more: about 250 bytes each, well under etcd's 1.5 MiB; the lookaside serves all."""

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def lookaside_name(pool: str) -> str:
    """The name of a pool's lookaside Deployment, Service, ServiceAccount, Role and budget."""
    return f"{pool}-lookaside"


def xds_name(pool: str) -> str:
    """The name of the ConfigMap with the bootstrap of a pool's xDS clients."""
    return f"{pool}-xds"


def reader_name(pool: str) -> str:
    """The name of the Role and RoleBinding that let ``spec.readers`` read the pool."""
    return f"{pool}-reader"


def is_label(text: str) -> bool:
    """Whether a namespace or a Service can be named so (RFC 1123)."""
    return _LABEL.fullmatch(text) is not None

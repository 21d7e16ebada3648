"""Public names: the API group, labels, ports and children of a pool. Manifests, clients and dashboards use them."""

import re
from typing import Final

GROUP: Final = "backendpool.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "GrpcBackendPool"
PLURAL: Final = "grpcbackendpools"

FIELD_MANAGER: Final = "backendpool"
"""The field manager of all writes (KEP-555)."""

POOL_LABEL: Final = "backendpool.io/pool"
"""On every child; the cluster copies it from the Service to its EndpointSlices."""

COMPONENT_LABEL: Final = "app.kubernetes.io/component"
BACKENDS: Final = "backends"
"""The component of the headless Service, which tells its EndpointSlices from those of the lookaside."""

DIGEST_ANNOTATION: Final = "backendpool.io/applied-digest"
"""On every child: a digest of the last applied manifest, so that a restarted operator does not apply it again."""

SERVICE_NAME_LABEL: Final = "kubernetes.io/service-name"
"""On every EndpointSlice: the name of its Service (KEP-752)."""

PORT_NAME: Final = "grpc"
"""The only port of the headless Service; each EndpointSlice has its number for its own pods."""

LOOKASIDE_PORT: Final = 50055
METRICS_PORT: Final = 9090

MAX_STATUS_ENDPOINTS: Final = 1000
"""The limit of endpoints in a status, about 250 bytes each: well under etcd's 1.5 MiB. The lookaside has no limit."""

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def lookaside_name(pool: str) -> str:
    """Return the name of the lookaside's Deployment, Service, ServiceAccount, Role and PodDisruptionBudget."""
    return f"{pool}-lookaside"


def xds_name(pool: str) -> str:
    """Return the name of the ConfigMap with the bootstrap of xDS clients."""
    return f"{pool}-xds"


def reader_name(pool: str) -> str:
    """Return the name of the Role and RoleBinding for ``spec.readers``."""
    return f"{pool}-reader"


def is_label(text: str) -> bool:
    """Return whether ``text`` is a valid name of a namespace or Service (RFC 1123)."""
    return _LABEL.fullmatch(text) is not None

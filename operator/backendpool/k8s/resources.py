"""The kinds that are read or written, and their URL paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from backendpool.api import constants


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind; ``group`` is empty for the core API."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the URL path of the collection or of one object; without a namespace, of all namespaces."""
        parts = ["apis" if self.group else "api", self.api_version]
        if namespace:
            parts += ["namespaces", namespace]
        # RBAC names may have colons and percent signs.
        parts += [self.plural, *(quote(part, safe="") for part in (name, subresource) if part)]
        return "/" + "/".join(parts)


POOLS: Final = Resource(constants.GROUP, constants.VERSION, constants.PLURAL, constants.KIND)
PODS: Final = Resource("", "v1", "pods", "Pod")
SERVICES: Final = Resource("", "v1", "services", "Service")
CONFIG_MAPS: Final = Resource("", "v1", "configmaps", "ConfigMap")
SERVICE_ACCOUNTS: Final = Resource("", "v1", "serviceaccounts", "ServiceAccount")
ROLES: Final = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDINGS: Final = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
DEPLOYMENTS: Final = Resource("apps", "v1", "deployments", "Deployment")
POD_DISRUPTION_BUDGETS: Final = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
ENDPOINT_SLICES: Final = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
EVENTS: Final = Resource("events.k8s.io", "v1", "events", "Event")
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease")

CHILD_RESOURCES: Final[Mapping[str, Resource]] = {
    resource.kind: resource
    for resource in (
        SERVICES,
        SERVICE_ACCOUNTS,
        CONFIG_MAPS,
        ROLES,
        ROLE_BINDINGS,
        DEPLOYMENTS,
        POD_DISRUPTION_BUDGETS,
    )
}
"""The kinds of a pool's children."""

"""The informers of a namespace, or of all, and whether they are synced.

A namespace is served when all of its own informers are synced: one that is forbidden or does not exist must not keep
others from being served.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from backendpool.api.constants import BACKENDS, COMPONENT_LABEL, POOL_LABEL
from backendpool.api.endpoint_slices import parse_slice
from backendpool.children.manifest import KubernetesObject
from backendpool.controller.cache import Cache
from backendpool.controller.metrics import OperatorMetrics
from backendpool.errors import Forbidden
from backendpool.k8s.client import Api
from backendpool.k8s.reflector import Reflector
from backendpool.k8s.resources import CHILD_RESOURCES, ENDPOINT_SLICES, POOLS, Resource

_POOL_SLICES = f"{POOL_LABEL},{COMPONENT_LABEL}={BACKENDS}"
"""Selects the EndpointSlices of pools' headless Services, whose labels the cluster copies to their slices."""


class Informer(Protocol):
    """The objects of one kind: a reflector, or kopf and its resync."""

    @property
    def synced(self) -> bool:
        """Whether the first list is complete."""

    @property
    def problem(self) -> Exception | None:
        """The last error, None if the objects are watched."""

    def age(self) -> float:
        """Seconds since the objects were last known to be current; infinite before the first list."""


@dataclass(frozen=True, slots=True)
class NamespaceInformers:
    """The informers of ``namespace`` (None: of all namespaces): of its ``pools``, and of the objects they depend on."""

    namespace: str | None
    pools: Informer
    reflectors: Mapping[Resource, Reflector[Any]]

    @property
    def by_resource(self) -> Mapping[Resource, Informer]:
        return {POOLS: self.pools, **self.reflectors}

    @property
    def synced(self) -> bool:
        """Whether everything that pools depend on is in the cache: nothing may be written before."""
        return all(reflector.synced for reflector in self.reflectors.values())

    @property
    def forbidden(self) -> bool:
        """Whether a first list is forbidden: a permission is missing, or the namespace is gone with its Roles."""
        return any(not one.synced and isinstance(one.problem, Forbidden) for one in self.by_resource.values())

    def unsynced(self) -> Iterator[str]:
        """Describe the informers whose first list is not complete."""
        where = f"{self.namespace}/" if self.namespace else ""
        for resource, informer in self.by_resource.items():
            if not informer.synced:
                yield f"{where}{resource.plural} ({informer.problem or 'listing'})"

    async def wait_synced(self) -> None:
        for reflector in self.reflectors.values():
            await reflector.wait_synced()

    async def run(self) -> NoReturn:
        """Run all reflectors until cancelled."""
        async with asyncio.TaskGroup() as group:
            for reflector in self.reflectors.values():
                group.create_task(reflector.run())
        raise AssertionError("reflectors never return")


def reflectors(
    api: Api, cache: Cache, metrics: OperatorMetrics, namespace: str | None
) -> Mapping[Resource, Reflector[Any]]:
    """Return the reflectors that keep the slices and children of pools in ``cache``."""

    def reflector(
        resource: Resource, selector: str, parse: Callable[[dict[str, Any]], Any], put: Callable[[Any, Any], None]
    ) -> Reflector[Any]:
        return Reflector(api, resource, parse, put, namespace=namespace, label_selector=selector, metrics=metrics)

    slices = reflector(ENDPOINT_SLICES, _POOL_SLICES, parse_slice, cache.put_slice)
    return {ENDPOINT_SLICES: slices} | {
        kind: reflector(kind, POOL_LABEL, _without_managed_fields, cache.put_child) for kind in CHILD_RESOURCES.values()
    }


def _without_managed_fields(child: KubernetesObject) -> KubernetesObject:
    """Drop the managed fields, which are half of a child's size."""
    return {**child, "metadata": {key: value for key, value in child["metadata"].items() if key != "managedFields"}}

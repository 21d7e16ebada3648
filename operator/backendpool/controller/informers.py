"""What is known of one namespace, or of all, and whether that is enough to write.

A namespace is served when each watch on it has its first complete list, whatever becomes of the others: one that may
not be read, or is not there, must not keep the rest from being served.
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

_OURS = f"{POOL_LABEL},{COMPONENT_LABEL}={BACKENDS}"
"""The cluster copies a Service's labels to its slices: these are the headless Services' ones."""


class View(Protocol):
    """How current what is known of one kind is."""

    @property
    def synced(self) -> bool:
        """Whether there was a first complete list."""

    @property
    def problem(self) -> Exception | None:
        """What it failed of last, if it fails."""

    def age(self) -> float:
        """Seconds since it was last known to be current, infinite before the first list."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The views of ``namespace`` (None: of all namespaces): of its ``pools``, and of all that is made of them."""

    namespace: str | None
    pools: View
    reflectors: Mapping[Resource, Reflector[Any]]

    @property
    def views(self) -> Mapping[Resource, View]:
        return {POOLS: self.pools, **self.reflectors}

    def by_kind(self) -> Mapping[str, View]:
        """The views by the names of their kinds, as the status tells of them."""
        return {resource.kind: view for resource, view in self.views.items()}

    @property
    def known(self) -> bool:
        """Whether what is known of a pool here is all that there is: nothing may be written before."""
        return all(reflector.synced for reflector in self.reflectors.values())

    @property
    def refused(self) -> bool:
        """Whether a first list is refused: a right is missing, or it went with its namespace."""
        return any(not view.synced and isinstance(view.problem, Forbidden) for view in self.views.values())

    def behind(self) -> Iterator[str]:
        """What has no first complete list yet, and why."""
        where = f"{self.namespace}/" if self.namespace else ""
        for resource, view in self.views.items():
            if not view.synced:
                yield f"{where}{resource.plural} ({view.problem or 'listing'})"

    def __str__(self) -> str:
        return f"namespace {self.namespace}" if self.namespace else "all namespaces"

    async def wait_known(self) -> None:
        """Wait for ``known``."""
        for reflector in self.reflectors.values():
            await reflector.wait_synced()

    async def run(self) -> NoReturn:
        """Keep all but the pools current until cancelled."""
        async with asyncio.TaskGroup() as group:
            for reflector in self.reflectors.values():
                group.create_task(reflector.run())
        raise AssertionError("reflectors never return")


def reflectors(
    api: Api, cache: Cache, metrics: OperatorMetrics, namespace: str | None
) -> Mapping[Resource, Reflector[Any]]:
    """Those that fill ``cache`` with the slices and the children of pools."""

    def reflector(
        resource: Resource, selector: str, parse: Callable[[KubernetesObject], Any], put: Callable[[Any, Any], None]
    ) -> Reflector[Any]:
        return Reflector(api, resource, parse, put, namespace=namespace, label_selector=selector, metrics=metrics)

    slices = reflector(ENDPOINT_SLICES, _OURS, parse_slice, cache.put_slice)
    return {ENDPOINT_SLICES: slices} | {
        kind: reflector(kind, POOL_LABEL, _trim, cache.put_child) for kind in CHILD_RESOURCES.values()
    }


def _trim(child: KubernetesObject) -> KubernetesObject:
    """A child without its managed fields, half of its size."""
    return {**child, "metadata": {key: value for key, value in child["metadata"].items() if key != "managedFields"}}

"""Synthetic pools: EndpointSlices without pods.

The slices have the labels and sizes that the EndpointSlice controller would give them. No kubelet is involved, so only
the operator and the API server are measured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from backendpool.api.constants import (
    API_VERSION,
    BACKENDS,
    COMPONENT_LABEL,
    KIND,
    POOL_LABEL,
    PORT_NAME,
    SERVICE_NAME_LABEL,
)
from backendpool.api.endpoint_slices import parse_slice, union
from backendpool.k8s.client import Api
from backendpool.k8s.resources import ENDPOINT_SLICES, POOLS

Document = dict[str, Any]

PORT = 50051
_LEAST: Document = {"lookaside": {"replicas": 0}}
_WHOLE: Document = {"readers": [{"serviceAccount": "reader"}]}
_AT_ONCE = 16
"""Concurrent requests; more would only queue in the API server."""


@dataclass(frozen=True, slots=True)
class PoolFleet:
    """A number of ``pools`` in one namespace, each with ``endpoints`` endpoints in ``slices`` EndpointSlices.

    With ``lookaside``, each pool also has a lookaside and a reader. The quota of the namespace prevents pods.
    """

    namespace: str
    pools: int
    endpoints: int
    slices: int = 1
    lookaside: bool = False

    def names(self) -> list[str]:
        """The names of the pools."""
        return [f"pool-{number:04d}" for number in range(self.pools)]

    def slice(self, pool: str, number: int = 0, *, change: int = 0) -> Document:
        """Return an EndpointSlice of ``pool`` after ``change`` changes, each of which replaced its first pod."""
        first, past = (self.endpoints * n // self.slices for n in (number, number + 1))
        return {
            "apiVersion": ENDPOINT_SLICES.api_version,
            "kind": ENDPOINT_SLICES.kind,
            "metadata": {"namespace": self.namespace, "name": f"{pool}-{number}", "labels": _labels(pool)},
            "addressType": "IPv4",
            "ports": [{"name": PORT_NAME, "port": PORT, "protocol": "TCP", "appProtocol": "kubernetes.io/h2c"}],
            "endpoints": [self._endpoint(pool, index, change if index == first else 0) for index in range(first, past)],
        }

    def revision(self, pool: str, *, change: int = 0) -> str:
        """Return the expected status revision of ``pool`` after ``change`` changes of its first slice."""
        changed = self.slice(pool, change=change)
        return union(map(parse_slice, [changed, *(self.slice(pool, n) for n in range(1, self.slices))])).revision

    def _endpoint(self, pool: str, index: int, life: int) -> Document:
        uid = uuid5(NAMESPACE_URL, f"{self.namespace}/{pool}/{index}/{life}")
        return {
            # Of the range for benchmarks (RFC 2544), and never sent to: pools may share addresses.
            "addresses": [f"198.18.{index // 250}.{index % 250 + 1}"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": f"node-{index % 50:02d}",
            "zone": f"zone-{index % 3}",
            "targetRef": {
                "kind": "Pod",
                "namespace": self.namespace,
                "name": f"{pool}-{uid.hex[:10]}-{index:05d}",
                "uid": str(uid),
            },
        }


async def create(api: Api, fleet: PoolFleet) -> None:
    """Create the pools and their slices; the namespace must exist."""
    await create_pools(api, fleet)
    await at_once(
        api.create(ENDPOINT_SLICES, fleet.slice(name, number))
        for name in fleet.names()
        for number in range(fleet.slices)
    )


async def create_pools(api: Api, fleet: PoolFleet) -> None:
    """Create the pools without slices."""
    await at_once(api.create(POOLS, _pool(fleet, name)) for name in fleet.names())


async def at_once(work: Iterable[Awaitable[object]], workers: int = _AT_ONCE) -> None:
    """Await all of ``work`` with limited concurrency; ``work`` is iterated lazily."""
    waiting = iter(work)

    async def worker() -> None:
        for one in waiting:
            await one

    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(worker())


def _pool(fleet: PoolFleet, name: str) -> Document:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"namespace": fleet.namespace, "name": name},
        # The selector matches no pod.
        "spec": {"selector": {"bench": name}, "port": PORT, **(_WHOLE if fleet.lookaside else _LEAST)},
    }


def _labels(pool: str) -> dict[str, str]:
    return {
        SERVICE_NAME_LABEL: pool,
        POOL_LABEL: pool,
        COMPONENT_LABEL: BACKENDS,
        "endpointslice.kubernetes.io/managed-by": "bench",
        # Headless, as the pool's Service is: kube-proxy does not look at such slices.
        "service.kubernetes.io/headless": "",
    }

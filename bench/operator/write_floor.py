"""The baseline of a first start: the time of the writes that any operator has to send.

A plain loop sends prepared bodies with the concurrency of the operator, while nothing watches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from backendpool.api.conditions import ChildrenStatus
from backendpool.api.constants import API_VERSION, KIND
from backendpool.api.endpoint_slices import parse_slice, union
from backendpool.api.pool import Pool, parse_pool
from backendpool.api.status import build_status
from backendpool.children.desired import children
from backendpool.children.manifest import Child
from backendpool.k8s.client import Api
from backendpool.k8s.resources import CHILD_RESOURCES, POOLS
from bench.common.pool_fleet import Document, PoolFleet, at_once

_AT_ONCE = 8
"""The operator's number of workers."""


async def seconds(api: Api, fleet: PoolFleet) -> float:
    """Return the seconds to write the children and the status of every pool.

    The pools of ``fleet`` must exist, without children.
    """
    now, loop = datetime.now(UTC), asyncio.get_running_loop()
    pools = [parse_pool(await api.get(POOLS, fleet.namespace, name)) for name in fleet.names()]
    ready = [(children(pool, "unused"), _with_status(fleet, pool, now)) for pool in pools]
    begun = loop.time()
    await at_once((_make(api, *bodies) for bodies in ready), _AT_ONCE)
    return loop.time() - begun


async def _make(api: Api, made_of: Sequence[Child], pool: Document) -> None:
    for child in made_of:
        await api.create(CHILD_RESOURCES[child["kind"]], child)
    await api.replace_status(POOLS, pool)


def _with_status(fleet: PoolFleet, pool: Pool, now: datetime) -> Document:
    slices = [parse_slice(fleet.slice(pool.name, number)) for number in range(fleet.slices)]
    meta = {"namespace": pool.namespace, "name": pool.name, "uid": pool.uid, "resourceVersion": pool.resource_version}
    status = build_status(pool, union(slices), ChildrenStatus(applied=True), now)
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": meta, "status": status}

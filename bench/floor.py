"""What of a first start is the API server's own time: the operator's requests, sent by a loop that decides nothing.

As many at a time as the operator sends, with all bodies made beforehand, and nobody who watches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from backendpool.children import children
from backendpool.cluster.api import Api
from backendpool.cluster.resources import EVENTS, POOLS, SERVICES
from backendpool.endpoints import parse_slice, union
from backendpool.errors import NotFound
from backendpool.pool import Pool, parse_pool
from backendpool.status import ChildrenView, build_status
from bench.fleet import Document, Fleet, at_once

_AT_ONCE = 8
"""The operator's workers."""


async def seconds(api: Api, fleet: Fleet, events: int) -> float:
    """For each pool: two reads, its Service, two statuses; and so many events, one after the other.

    The pools of ``fleet`` must be there, and nothing that belongs to them.
    """
    now, loop = datetime.now(UTC), asyncio.get_running_loop()
    pools = [parse_pool(await api.get(POOLS, fleet.namespace, name)) for name in fleet.names()]
    ready = [(pool, *_bodies(fleet, pool, now)) for pool in pools]
    begun = loop.time()
    async with asyncio.TaskGroup() as group:
        group.create_task(_post(api, pools[0], events, now))
        await at_once((_make(api, *one) for one in ready), _AT_ONCE)
    return loop.time() - begun


def _bodies(fleet: Fleet, pool: Pool, now: datetime) -> tuple[Document, Document, Document]:
    """The Service, the status before endpoints are known, and the one after."""
    (service,) = children(pool, "unused")
    slices = [parse_slice(fleet.slice(pool.name, number)) for number in range(fleet.slices)]
    view = ChildrenView(applied=True)
    return service, build_status(pool, None, view, now), build_status(pool, union(slices), view, now)


async def _make(api: Api, pool: Pool, service: Document, first: Document, then: Document) -> None:
    held = await api.get(POOLS, pool.namespace, pool.name)
    with suppress(NotFound):
        await api.get(SERVICES, pool.namespace, pool.name)
    await api.apply(SERVICES, service)
    for status in (first, then):
        held = await api.replace_status(POOLS, _with(held, status))


def _with(held: Mapping[str, Any], status: Document) -> Document:
    kept = {field: held["metadata"][field] for field in ("namespace", "name", "uid", "resourceVersion")}
    return {"apiVersion": held["apiVersion"], "kind": held["kind"], "metadata": kept, "status": status}


async def _post(api: Api, pool: Pool, count: int, now: datetime) -> None:
    event = {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {"generateName": "floor-", "namespace": pool.namespace},
        "eventTime": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "type": "Normal",
        "reason": "Bench",
        "action": "Bench",
        "note": "As long as one of the operator's: 100 endpoints are ready.",
        "regarding": {"kind": "GrpcBackendPool", "namespace": pool.namespace, "name": pool.name, "uid": pool.uid},
        "reportingController": "backendpool.io/bench",
        "reportingInstance": "bench",
    }
    for _ in range(count):
        await api.create(EVENTS, event)

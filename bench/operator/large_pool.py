"""One pool of thousands of endpoints: its status stays bounded, and its lookaside serves all of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc.aio

from backendpool.k8s.client import Api
from backendpool.k8s.resources import POOLS
from backendpool.proto.lookaside.lookaside_pb2 import Request
from backendpool.proto.lookaside.lookaside_pb2_grpc import LookasideStub
from bench.common.pool_fleet import PoolFleet, at_once
from bench.common.processes import Program, free_port, running
from bench.operator.status_watcher import StatusWatcher


@dataclass(frozen=True, slots=True)
class LargePool:
    """Results of a large pool: fields and size of its status, and what the lookaside serves.

    ``resolved`` is the number of distinct addresses returned when Resolve is called once per endpoint. ``memory`` is
    the lookaside's peak in MB.
    """

    listed: int
    total: int
    truncated: bool
    status_bytes: int
    lookaside_ready: int
    resolved: int
    resolves_per_second: float
    memory: float


async def measure(api: Api, view: StatusWatcher, fleet: PoolFleet, env: Mapping[str, str], folder: Path) -> LargePool:
    """Measure the only pool of ``fleet``, whose status must exist; ``env`` selects the cluster."""
    (pool,) = fleet.names()
    document = await api.get(POOLS, fleet.namespace, pool)
    size = len(json.dumps(document["status"], separators=(",", ":")))
    seen, port = view.of(pool), free_port()
    where = {"POOL_NAME": pool, "POOL_NAMESPACE": fleet.namespace, "LOOKASIDE_PORT": str(port)}
    async with running("lookaside", {**env, **where}, folder, None) as lookaside:
        ready = await _ready(lookaside, fleet.endpoints)
        resolved, rate = await _resolve_all(port, fleet.namespace, pool, fleet.endpoints)
        return LargePool(seen.listed, seen.total, seen.truncated, size, ready, resolved, rate, lookaside.peak_memory())


async def _ready(lookaside: Program, wanted: int, seconds: float = 60.0) -> int:
    """Return the lookaside's number of ready endpoints: ``wanted``, or the number after ``seconds``."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while (ready := int(await lookaside.figure("backendpool_endpoints", state="Ready"))) != wanted:
        if loop.time() > deadline:
            break
        await asyncio.sleep(0.1)
    return ready


async def _resolve_all(port: int, namespace: str, pool: str, count: int) -> tuple[int, float]:
    """Return the number of distinct addresses in ``count`` responses, and the responses per second."""
    loop = asyncio.get_running_loop()
    addresses: set[str] = set()
    request = Request(router=Request.ROUNDROBIN, service=pool, namespace=namespace)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = LookasideStub(channel)

        async def resolve() -> None:
            addresses.add((await stub.Resolve(request, wait_for_ready=True, timeout=60)).address)

        await channel.channel_ready()
        begun = loop.time()
        await at_once(resolve() for _ in range(count))
        return len(addresses), count / (loop.time() - begun)

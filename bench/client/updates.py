"""CPU cost of an endpoint update in the client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import replace

from backendpool.api.endpoints import Endpoint, EndpointSet, EndpointState
from backendpool.api.pool import PoolView
from backendpool.client._balancer import Balancer
from bench.client.backends import endpoints
from bench.client.comparison import Cost

Change = Callable[[list[Endpoint], int], Endpoint]
"""Returns the changed endpoint; the number of the change selects it."""


async def by_change(port: int, backends: int, times: int) -> Mapping[str, Cost]:
    """Return the CPU seconds of :meth:`Balancer.update` after a change of one of the connected ``backends``."""
    changes: Mapping[str, Change] = {"nothing": _same, "the state of one": _state, "one for another": _another}
    found: dict[str, list[float]] = {name: [] for name in changes}
    async with aclosing(Balancer("ns/bench")) as balancer:
        current = endpoints(backends, port)
        balancer.update(PoolView(EndpointSet.of(current)))
        for number in range(times):
            for name, change in changes.items():
                await _settled(balancer)
                current[number % backends] = change(current, number)
                view = PoolView(EndpointSet.of(current))
                begun = time.thread_time()
                balancer.update(view)
                found[name].append(time.thread_time() - begun)
    return {name: Cost(costs) for name, costs in found.items()}


def _same(current: list[Endpoint], number: int) -> Endpoint:
    return current[number % len(current)]


def _state(current: list[Endpoint], number: int) -> Endpoint:
    endpoint = current[number % len(current)]
    is_ready = endpoint.state is EndpointState.READY
    return replace(endpoint, state=EndpointState.DRAINING if is_ready else EndpointState.READY)


def _another(current: list[Endpoint], number: int) -> Endpoint:
    return replace(current[number % len(current)], pod_uid=f"uid-of-change-{number}", state=EndpointState.READY)


async def _settled(balancer: Balancer) -> None:
    while not balancer.initialized or any(one.connection == "connecting" for one in balancer.subchannels):
        await asyncio.sleep(0.01)

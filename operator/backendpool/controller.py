"""The operator, put together: who watches what, and who tells whom.

kopf (pools), reflectors (EndpointSlices, children) -> cache -> queue -> reconcile -> API server
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any
from uuid import uuid4

from backendpool import observability
from backendpool.apply import CHILDREN, ChildApplier
from backendpool.cache import Cache, Live, PoolKey
from backendpool.cluster.api import Api
from backendpool.cluster.reflector import Change, Reflector
from backendpool.cluster.resources import ENDPOINT_SLICES, POOLS, Resource
from backendpool.election import ElectionTiming, Elector
from backendpool.endpoints import parse_slice
from backendpool.errors import LeadershipLost
from backendpool.handlers import PoolWatch
from backendpool.metrics import OperatorMetrics
from backendpool.names import BACKENDS, COMPONENT_LABEL, POOL_LABEL
from backendpool.reconcile import Reconciler
from backendpool.recorder import EventRecorder
from backendpool.settings import OperatorSettings
from backendpool.work import WorkQueue

log = logging.getLogger(__name__)

LEASE = "backendpool-operator"
TIMING = ElectionTiming()
_WORKERS = 8

_Watch = tuple[str, Reflector[Any]]
"""The plural of a kind, and the watch on it in one namespace or in all."""


async def run(settings: OperatorSettings) -> None:
    """Serve pools until the process is told to stop; raises ``LeadershipLost`` where another leads by then."""
    # A restarted container has its predecessor's name, and must not take its Lease for its own.
    identity = f"{settings.instance}_{uuid4().hex[:8]}"
    async with AsyncExitStack() as stack:
        elector = await _candidate(stack, settings, identity) if settings.lease_namespace else None
        guard = elector.check if elector else None
        connecting = Api.connect(timeout=TIMING.arrival, instance=identity, guard=guard)
        operator = Operator(await stack.enter_async_context(await connecting), settings, elector)
        await stack.enter_async_context(
            observability.serve(
                settings.metrics_port, operator.registry, healthy=lambda: None, ready=operator.not_ready
            )
        )
        await until_told(operator.run())


async def until_told(work: Coroutine[Any, Any, None]) -> None:
    """Work until SIGTERM or SIGINT, or until the work fails."""
    working, loop = asyncio.create_task(work), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Once: a second one would cut short what is done at the end.
        loop.add_signal_handler(number, lambda: working.cancelling() or working.cancel())
    await asyncio.wait([working])
    if not working.cancelled():
        working.result()


async def _candidate(stack: AsyncExitStack, settings: OperatorSettings, identity: str) -> Elector:
    """With a connection of its own: renewals must not wait behind other requests, nor be fenced themselves."""
    connecting = Api.connect(timeout=TIMING.duration - TIMING.arrival, instance=identity)
    api = await stack.enter_async_context(await connecting)
    return Elector(api, settings.lease_namespace, LEASE, identity, TIMING)


class Operator:
    """One operator process: its caches, its watches and its queue."""

    def __init__(self, api: Api, settings: OperatorSettings, elector: Elector | None = None) -> None:
        self.registry = observability.new_registry()
        self._elector = elector
        metrics = OperatorMetrics(self.registry)
        self._queue: WorkQueue[PoolKey] = WorkQueue(metrics, describe="/".join)
        self._cache = Cache(self._queue.add, asyncio.get_running_loop().call_later)
        self._pools = PoolWatch(
            self._cache, settings.namespaces, settings.instance, api, partial(metrics.failed, POOLS)
        )
        self._recorder = EventRecorder(api, settings.instance)
        applier = ChildApplier(api, self._cache, self._recorder, metrics, settings.lookaside_image)
        self._reconciler = Reconciler(api, self._cache, applier, self._recorder, metrics)
        self._reflectors = [
            reflector
            for namespace in settings.namespaces or (None,)
            for reflector in self._reflectors_of(api, namespace, metrics)
        ]
        _watch_gauges(metrics, self._queue, self._cache, self._reflectors)
        metrics.requests(api.requests)
        metrics.gauge("backendpool_leader", "1 where this process may write.", self._leads)

    def not_ready(self) -> str | None:
        """None once every watch has its first complete list, else which have not."""
        watches = [(POOLS.plural, self._pools.started, self._pools.problem)]
        watches += [(kind, reflector.synced, reflector.problem) for kind, reflector in self._reflectors]
        behind = [f"{kind} ({problem or 'listing'})" for kind, synced, problem in watches if not synced]
        return f"waiting for the first list of {', '.join(behind)}" if behind else None

    def _leads(self) -> bool:
        return self._elector is None or self._elector.leading

    async def run(self) -> None:
        """Work until cancelled; raises ``LeadershipLost`` where another leads by then.

        Nothing is written before every watch has its first complete list. A bug in any of the tasks ends them all.
        """
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pools.run())
                group.create_task(self._recorder.run())
                for _, reflector in self._reflectors:
                    group.create_task(reflector.run())
                for _, reflector in self._reflectors:
                    await reflector.wait_synced()
                log.info("all watches have their first list: %d pools known", len(self._cache.pools()))
                if self._elector:
                    group.create_task(self._elector.watch())
                    await self._elector.win()
                    group.create_task(self._elector.hold())
                group.create_task(self._queue.run(self._reconciler.reconcile, _WORKERS))
        except* LeadershipLost as lost:
            raise lost.exceptions[0] from None
        finally:
            if self._elector:
                await self._elector.release()

    def _reflectors_of(self, api: Api, namespace: str | None, metrics: OperatorMetrics) -> list[_Watch]:
        def watch(
            resource: Resource, selector: str, parse: Callable[[Live], Any], put: Callable[[Any, Any], None]
        ) -> _Watch:
            def on_change(change: Change[Any]) -> None:
                put(change.old, change.new)

            reflector = Reflector(
                api, resource, parse, on_change, namespace=namespace, label_selector=selector, metrics=metrics
            )
            return (resource.plural, reflector)

        # The cluster copies a Service's labels to its slices: these are the headless Services' ones.
        ours = f"{POOL_LABEL},{COMPONENT_LABEL}={BACKENDS}"
        slices = watch(ENDPOINT_SLICES, ours, parse_slice, self._cache.put_slice)
        return [slices, *(watch(kind, POOL_LABEL, _trim, self._cache.put_child) for kind in CHILDREN.values())]


def _trim(child: Live) -> Live:
    """A child without its managed fields, half of its size."""
    return {**child, "metadata": {key: value for key, value in child["metadata"].items() if key != "managedFields"}}


def _watch_gauges(metrics: OperatorMetrics, queue: WorkQueue[PoolKey], cache: Cache, watches: Iterable[_Watch]) -> None:
    metrics.gauge("backendpool_pools", "Pools known.", lambda: len(cache.pools()))
    metrics.gauge("backendpool_queue_depth", "Pools due or being worked on.", lambda: len(queue))
    of_kind: dict[str, list[Reflector[Any]]] = defaultdict(list)
    for kind, reflector in watches:
        of_kind[kind].append(reflector)
    for kind, reflectors in of_kind.items():
        metrics.view_age(kind, partial(_oldest, reflectors))


def _oldest(reflectors: Iterable[Reflector[Any]]) -> float:
    return max(reflector.age() for reflector in reflectors)

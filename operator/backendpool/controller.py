"""The operator, put together: who watches what, and who tells whom.

kopf (pools), reflectors (EndpointSlices, children) -> cache -> queue -> reconcile -> API server
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from functools import partial
from itertools import chain
from typing import Any
from uuid import uuid4

from backendpool import observability
from backendpool.apply import ChildApplier
from backendpool.cache import Cache, PoolKey
from backendpool.cluster.api import Api
from backendpool.cluster.resources import ENDPOINT_SLICES, POOLS
from backendpool.election import ElectionTiming, Elector
from backendpool.errors import LeadershipLost
from backendpool.handlers import PoolWatch
from backendpool.metrics import OperatorMetrics
from backendpool.reconcile import Reconciler
from backendpool.recorder import EventRecorder
from backendpool.refusal import Refusal, RefusalTiming
from backendpool.scope import Scope, reflectors
from backendpool.settings import OperatorSettings
from backendpool.work import WorkQueue

log = logging.getLogger(__name__)

LEASE = "backendpool-operator"
TIMING = ElectionTiming()
REFUSALS = RefusalTiming()
_WORKERS = 8


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
        self._cache = Cache(self._changed, asyncio.get_running_loop().call_later)
        self._pools = PoolWatch(
            self._cache, settings.namespaces, settings.instance, api, partial(metrics.failed, POOLS)
        )
        self._recorder = EventRecorder(api, settings.instance)
        applier = ChildApplier(api, self._cache, self._recorder, metrics, settings.lookaside_image)
        self._reconciler = Reconciler(api, self._cache, applier, self._recorder, metrics, self._refused)
        self._scopes = {
            namespace: Scope(namespace, view, reflectors(api, self._cache, metrics, namespace))
            for namespace, view in self._pools.views.items()
        }
        self._refusals = {
            namespace: Refusal(scope.reflectors[ENDPOINT_SLICES], partial(self._work_on, scope), REFUSALS)
            for namespace, scope in self._scopes.items()
        }
        metrics.gauge("backendpool_pools", "Pools known.", lambda: len(self._cache.pools()))
        metrics.gauge("backendpool_queue_depth", "Pools due or being worked on.", lambda: len(self._queue))
        for scope in self._scopes.values():
            for resource, view in scope.views.items():
                metrics.view_age(resource, scope.namespace, view.age)
        metrics.requests(api.requests)
        metrics.gauge("backendpool_leader", "1 where this process may write.", self._leads)

    def not_ready(self) -> str | None:
        """None once every watch has its first complete list, else which have not.

        A namespace that refuses to be read is not waited for, as long as there is another one.
        """
        behind = [scope for scope in self._scopes.values() if any(scope.behind())]
        awaited = [scope for scope in behind if not scope.refused]
        if not awaited and len(behind) < len(self._scopes):
            return None
        return f"waiting for the first list of {', '.join(chain.from_iterable(s.behind() for s in awaited or behind))}"

    def _leads(self) -> bool:
        return self._elector is None or self._elector.leading

    async def run(self) -> None:
        """Work until cancelled; raises ``LeadershipLost`` where another leads by then.

        Nothing is written for a pool before every watch on its namespace has its first complete list. A bug in any of
        the tasks ends them all.
        """
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pools.run())
                group.create_task(self._recorder.run())
                for scope in self._scopes.values():
                    group.create_task(scope.run())
                    group.create_task(self._refusals[scope.namespace].run())
                begun = [group.create_task(self._begin(scope)) for scope in self._scopes.values()]
                await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)
                if self._elector:
                    group.create_task(self._elector.watch())
                    await self._elector.win()
                    group.create_task(self._elector.hold())
                group.create_task(self._queue.run(self._reconciler.reconcile, _WORKERS))
        # Not by except*: before Python 3.11.4 it puts what is raised there into a group again.
        except BaseExceptionGroup as failed:
            lost, others = failed.split(LeadershipLost)
            if lost is None or others is not None:
                raise
            raise lost.exceptions[0] from None
        finally:
            if self._elector:
                await self._elector.release()

    async def _begin(self, scope: Scope) -> None:
        """Have what is known of a scope worked on as soon as it is all that there is."""
        await scope.wait_known()
        log.info("all watches on %s have their first list: %d pools known", scope, len(self._pools_of(scope)))
        self._work_on(scope)

    def _pools_of(self, scope: Scope) -> list[PoolKey]:
        return [key for key in self._cache.pools() if scope.namespace in (None, key[0])]

    def _work_on(self, scope: Scope) -> None:
        if scope.known:
            for key in self._pools_of(scope):
                self._queue.add(key)

    def _refused(self, key: PoolKey) -> str:
        return (self._refusals.get(key[0]) or self._refusals[None]).reason

    def _changed(self, key: PoolKey) -> None:
        """Until all is known that concerns a pool, no change of it is a reason to write."""
        scope = self._scopes.get(key[0]) or self._scopes[None]
        if scope.known:
            self._queue.add(key)

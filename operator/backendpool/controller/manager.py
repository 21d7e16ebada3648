"""The operator, put together: who watches what, and who tells whom.

kopf (pools), reflectors (EndpointSlices, children) -> cache -> queue -> reconcile -> API server
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack, nullcontext
from functools import partial
from itertools import chain
from uuid import uuid4

from backendpool.api.pool import PoolKey
from backendpool.controller.cache import Cache
from backendpool.controller.child_applier import ChildApplier
from backendpool.controller.event_recorder import EventRecorder
from backendpool.controller.informers import Scope, reflectors
from backendpool.controller.leader_election import ElectionTiming, LeaderElection
from backendpool.controller.lookaside_diagnosis import LookasideDiagnosis
from backendpool.controller.metrics import OperatorMetrics
from backendpool.controller.pool_informer.informer import PoolWatch
from backendpool.controller.reconciler import Reconciler
from backendpool.controller.rollouts import RolloutLimiter
from backendpool.controller.settings import OperatorSettings
from backendpool.controller.watch_failures import Refusals, RefusalTiming
from backendpool.controller.workqueue import WorkQueue
from backendpool.errors import LeadershipLost
from backendpool.k8s.client import Api
from backendpool.k8s.resources import POOLS
from backendpool.runtime import observability
from backendpool.runtime.signals import run_until_signalled

log = logging.getLogger(__name__)

LEASE = "backendpool-operator"
TIMING = ElectionTiming()
REFUSALS = RefusalTiming()
_WORKERS = 8

LONGEST_SILENCE = 60.0
"""Seconds for which the thread of kopf may give no sign of life."""
LONGEST_RUN = 600.0
"""Seconds that one look at a pool may take: half of that is what all its requests together may take at worst."""


async def run(settings: OperatorSettings) -> None:
    """Serve pools until the process is told to stop; raises ``LeadershipLost`` where another leads by then."""
    # A restarted container has its predecessor's name, and must not take its Lease for its own.
    identity = f"{settings.instance}_{uuid4().hex[:8]}"
    async with AsyncExitStack() as stack:
        elector = await _candidate(stack, settings, identity) if settings.lease_namespace else None
        fence = elector.writing if elector else nullcontext
        connecting = Api.connect(timeout=TIMING.request_timeout, program="operator", instance=identity, fence=fence)
        operator = Operator(await stack.enter_async_context(await connecting), settings, elector)
        await stack.enter_async_context(
            observability.serve(
                settings.metrics_port, operator.registry, healthy=operator.hangs, ready=operator.not_ready
            )
        )
        stack.callback(asyncio.create_task(_spare_what_stays(operator)).cancel)
        await run_until_signalled(operator.run())


async def _spare_what_stays(operator: Operator) -> None:
    """Have Python never again look for garbage in what is there once all is known.

    Nearly all of that stays. With a thousand pools, to look through it took a tenth of a second and more, in which
    nothing else was done. Once and not again and again: what ends later, as kopf does, can be garbage by then.
    """
    while operator.not_ready():  # noqa: ASYNC110 (whoever asks for it asks, as kubelet does)
        await asyncio.sleep(1)
    gc.collect()
    gc.freeze()


async def _candidate(stack: AsyncExitStack, settings: OperatorSettings, identity: str) -> LeaderElection:
    """With a connection of its own: renewals must not wait behind other requests, nor be fenced themselves."""
    connecting = Api.connect(
        timeout=TIMING.lease_duration - TIMING.request_timeout, program="operator", instance=identity
    )
    api = await stack.enter_async_context(await connecting)
    return LeaderElection(api, settings.lease_namespace, LEASE, identity, TIMING)


class Operator:
    """One operator process: its caches, its watches and its queue."""

    def __init__(self, api: Api, settings: OperatorSettings, elector: LeaderElection | None = None) -> None:
        self.registry = observability.new_registry()
        self._elector = elector
        self._serving = False
        metrics = OperatorMetrics(self.registry)
        self._queue: WorkQueue[PoolKey] = WorkQueue(metrics, describe="/".join)
        self._cache = Cache(self._changed, asyncio.get_running_loop().call_later)
        self._pools = PoolWatch(
            self._cache, settings.namespaces, settings.instance, api, partial(metrics.failed, POOLS)
        )
        self._recorder = EventRecorder(api, settings.instance)
        rollouts = RolloutLimiter(settings.max_rollouts, self._changed, asyncio.get_running_loop().call_later)
        applier = ChildApplier(api, self._cache, self._recorder, metrics, settings.lookaside_image, rollouts)
        self._reconciler = Reconciler(
            api, self._cache, applier, LookasideDiagnosis(api), self._recorder, metrics, self._refused
        )
        self._scopes = {
            namespace: Scope(namespace, view, reflectors(api, self._cache, metrics, namespace))
            for namespace, view in self._pools.views.items()
        }
        self._refusals = {
            namespace: Refusals(scope.by_kind(), partial(self._work_on, scope), REFUSALS)
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

    def hangs(self) -> str | None:
        """None unless something stands still that nothing but a new process can help, whoever else may be away."""
        if (silent := self._pools.thread.silent()) > LONGEST_SILENCE:
            return f"the thread that watches pools has given no sign of life for {silent:.0f} s"
        if (running := self._queue.longest_run()) > LONGEST_RUN:
            return f"a pool has been worked on for {running:.0f} s"
        return None

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
                    await self._elector.acquire()
                    group.create_task(self._elector.renew_until_lost())
                self._serving = True
                for scope in self._scopes.values():
                    self._work_on(scope)
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
        """Have the pools of a scope worked on as soon as all is known of them."""
        await scope.wait_known()
        log.info("all watches on %s have their first list: %d pools known", scope, len(self._pools_of(scope)))
        self._work_on(scope)

    def _pools_of(self, scope: Scope) -> list[PoolKey]:
        return [key for key in self._cache.pools() if scope.namespace in (None, key[0])]

    def _may_work_on(self, scope: Scope) -> bool:
        """Not before all is known that concerns a pool, nor on a standby: what is due is what leading begins with."""
        return self._serving and scope.known

    def _work_on(self, scope: Scope) -> None:
        if self._may_work_on(scope):
            for key in self._pools_of(scope):
                self._queue.add(key)

    def _refused(self, key: PoolKey) -> Mapping[str, str]:
        return (self._refusals.get(key[0]) or self._refusals[None]).reasons

    def _changed(self, key: PoolKey) -> None:
        if self._may_work_on(self._scopes.get(key[0]) or self._scopes[None]):
            self._queue.add(key)

"""The operator process: wires informers, cache, work queue, reconciler and leader election.

kopf (pools), reflectors (EndpointSlices, children) -> cache -> work queue -> reconciler -> API server
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack, nullcontext
from functools import partial
from itertools import chain
from typing import Final
from uuid import uuid4

from backendpool.api.pool import PoolKey
from backendpool.controller.cache import Cache
from backendpool.controller.child_applier import ChildApplier
from backendpool.controller.event_recorder import EventRecorder
from backendpool.controller.informers import NamespaceInformers, reflectors
from backendpool.controller.leader_election import ElectionTiming, LeaderElection
from backendpool.controller.lookaside_diagnosis import LookasideDiagnosis
from backendpool.controller.metrics import OperatorMetrics
from backendpool.controller.pool_informer import PoolInformer
from backendpool.controller.reconciler import Reconciler
from backendpool.controller.rollouts import RolloutLimiter
from backendpool.controller.settings import OperatorSettings
from backendpool.controller.watch_failures import PersistentWatchFailures, WatchFailureTiming
from backendpool.controller.workqueue import WorkQueue
from backendpool.errors import LeadershipLost
from backendpool.k8s.client import Api
from backendpool.k8s.resources import POOLS
from backendpool.runtime import observability
from backendpool.runtime.signals import run_until_signalled

log = logging.getLogger(__name__)

LEASE: Final = "backendpool-operator"
ELECTION_TIMING: Final = ElectionTiming()
WATCH_FAILURE_TIMING: Final = WatchFailureTiming()
_WORKERS: Final = 8

MAX_THREAD_SILENCE: Final = 60.0
"""Seconds for which kopf's thread may be unresponsive."""
MAX_RECONCILE_SECONDS: Final = 600.0
"""Seconds that one reconcile may take: twice the sum of its requests' timeouts."""


async def run(settings: OperatorSettings) -> None:
    """Run the operator until SIGTERM or SIGINT; raises ``LeadershipLost`` if another process leads by then."""
    # A restarted container has the name of the previous one, and must not mistake that one's Lease for its own.
    identity = f"{settings.instance}_{uuid4().hex[:8]}"
    async with AsyncExitStack() as stack:
        election = await _join_election(stack, settings, identity) if settings.lease_namespace else None
        fence = election.writing if election else nullcontext
        connecting = Api.connect(
            timeout=ELECTION_TIMING.request_timeout, program="operator", instance=identity, fence=fence
        )
        manager = Manager(await stack.enter_async_context(await connecting), settings, election)
        await stack.enter_async_context(
            observability.serve(
                settings.metrics_port,
                manager.registry,
                healthy=manager.liveness_error,
                ready=manager.readiness_error,
            )
        )
        stack.callback(asyncio.create_task(_freeze_when_ready(manager)).cancel)
        await run_until_signalled(manager.run())


async def _freeze_when_ready(manager: Manager) -> None:
    """Exempt all objects from garbage collection once the operator is ready, since nearly all of them stay.

    With a thousand pools, a full collection blocked the event loop for a tenth of a second and more. This happens only
    once, because later garbage, such as a stopped kopf, must be collected.
    """
    while manager.readiness_error():  # noqa: ASYNC110 (readiness is polled, as kubelet does)
        await asyncio.sleep(1)
    gc.collect()
    gc.freeze()


async def _join_election(stack: AsyncExitStack, settings: OperatorSettings, identity: str) -> LeaderElection:
    """Connect separately: renewals must neither wait behind other requests nor be fenced themselves."""
    timeout = ELECTION_TIMING.lease_duration - ELECTION_TIMING.request_timeout
    connecting = Api.connect(timeout=timeout, program="operator", instance=identity)
    api = await stack.enter_async_context(await connecting)
    return LeaderElection(api, settings.lease_namespace, LEASE, identity, ELECTION_TIMING)


class Manager:
    """All parts of one operator process. Without ``election``, it assumes that it is the only operator."""

    def __init__(self, api: Api, settings: OperatorSettings, election: LeaderElection | None = None) -> None:
        self.registry = observability.new_registry()
        self._election = election
        self._started = False
        call_later = asyncio.get_running_loop().call_later
        metrics = OperatorMetrics(self.registry)
        self._queue: WorkQueue[PoolKey] = WorkQueue(metrics, log_fields=lambda key: {"pool": "/".join(key)})
        self._cache = Cache(self._enqueue, call_later)
        self._pools = PoolInformer(
            self._cache, settings.namespaces, settings.instance, api, partial(metrics.failed, POOLS)
        )
        self._recorder = EventRecorder(api, settings.instance)
        rollouts = RolloutLimiter(settings.max_rollouts, self._enqueue, call_later)
        applier = ChildApplier(api, self._cache, self._recorder, metrics, settings.lookaside_image, rollouts)
        self._reconciler = Reconciler(
            api, self._cache, applier, LookasideDiagnosis(api), self._recorder, metrics, self._unwatchable
        )
        self._namespaces = {
            namespace: NamespaceInformers(namespace, resync, reflectors(api, self._cache, metrics, namespace))
            for namespace, resync in self._pools.resyncs.items()
        }
        self._watch_failures = {
            namespace: PersistentWatchFailures(
                informers.by_resource, partial(self._enqueue_all, informers), WATCH_FAILURE_TIMING
            )
            for namespace, informers in self._namespaces.items()
        }
        metrics.gauge("backendpool_pools", "Known pools.", lambda: len(self._cache.pools()))
        metrics.gauge(
            "backendpool_queue_depth",
            "Pools waiting or being reconciled.",
            lambda: len(self._queue),
        )
        for namespace, informers in self._namespaces.items():
            for resource, informer in informers.by_resource.items():
                metrics.view_age(resource, namespace, informer.age)
        metrics.requests(api.requests)
        metrics.gauge("backendpool_leader", "1 on the leader, 0 on a standby.", self._is_leader)

    def readiness_error(self) -> str | None:
        """Return which informers are not synced, or None.

        Forbidden namespaces do not count, as long as another one is synced.
        """
        unsynced = [informers for informers in self._namespaces.values() if any(informers.unsynced())]
        awaited = [informers for informers in unsynced if not informers.forbidden]
        if not awaited and len(unsynced) < len(self._namespaces):
            return None
        names = chain.from_iterable(informers.unsynced() for informers in awaited or unsynced)
        return f"waiting for the first list of {', '.join(names)}"

    def liveness_error(self) -> str | None:
        """Return why only a restart can help, or None. External outages do not count."""
        if (silence := self._pools.thread.unresponsive_for()) > MAX_THREAD_SILENCE:
            return f"the thread that watches pools has been stuck for {silence:.0f} s"
        if (running := self._queue.longest_run()) > MAX_RECONCILE_SECONDS:
            return f"a reconcile has been running for {running:.0f} s"
        return None

    async def run(self) -> None:
        """Run until cancelled; raises ``LeadershipLost`` if another process leads.

        Nothing is written for a pool before all informers of its namespace are synced. An unexpected
        exception in one task cancels the others and is raised.
        """
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pools.run())
                group.create_task(self._recorder.run())
                for namespace, informers in self._namespaces.items():
                    group.create_task(informers.run())
                    group.create_task(self._watch_failures[namespace].run())
                syncing = [group.create_task(self._sync(informers)) for informers in self._namespaces.values()]
                await asyncio.wait(syncing, return_when=asyncio.FIRST_COMPLETED)
                if self._election:
                    group.create_task(self._election.watch())
                    await self._election.acquire()
                    group.create_task(self._election.renew_until_lost())
                self._started = True
                for informers in self._namespaces.values():
                    self._enqueue_all(informers)
                group.create_task(self._queue.run(self._reconciler.reconcile, _WORKERS))
        # Not by except*: before Python 3.11.4 it wraps what is raised there into a group again.
        except BaseExceptionGroup as failed:
            lost, others = failed.split(LeadershipLost)
            if lost is None or others is not None:
                raise
            raise lost.exceptions[0] from None
        finally:
            if self._election:
                await self._election.release()

    async def _sync(self, informers: NamespaceInformers) -> None:
        await informers.wait_synced()
        log.info(
            "Synced all informers",
            extra={"namespace": informers.namespace, "pools": len(self._pools_of(informers))},
        )
        self._enqueue_all(informers)

    def _enqueue(self, key: PoolKey) -> None:
        if self._may_reconcile(self._namespaces.get(key[0]) or self._namespaces[None]):
            self._queue.add(key)

    def _enqueue_all(self, informers: NamespaceInformers) -> None:
        if self._may_reconcile(informers):
            for key in self._pools_of(informers):
                self._queue.add(key)

    def _may_reconcile(self, informers: NamespaceInformers) -> bool:
        """Not before the namespace is synced, and not on a standby: a new leader enqueues all pools."""
        return self._started and informers.synced

    def _pools_of(self, informers: NamespaceInformers) -> list[PoolKey]:
        return [key for key in self._cache.pools() if informers.namespace in (None, key[0])]

    def _unwatchable(self, key: PoolKey) -> Mapping[str, str]:
        return (self._watch_failures.get(key[0]) or self._watch_failures[None]).errors

    def _is_leader(self) -> bool:
        return self._election is None or self._election.leading

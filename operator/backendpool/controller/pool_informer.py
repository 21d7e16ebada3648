"""The informer of pools: kopf watches them, this module passes its events to the cache and restarts it.

No other module imports kopf. It uses ``@kopf.on.event``, since kopf's create and update handlers would add annotations,
finalizers and PATCHes (docs/adr/0002-kopf-only-watches.md).

kopf exits on a rejected token, an ERROR event, a truncated line or a missing CRD, and then cancels all tasks of its
loop. So it runs in its own thread and loop, and is restarted when the kind is served.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from itertools import count
from typing import Any, Final, NoReturn

import kopf
from kopf._cogs.clients.errors import APIError  # not exported by kopf, like the next two
from kopf._cogs.structs.credentials import Vault
from kopf._core.engines.peering import Identity

from backendpool.api.constants import GROUP, PLURAL, VERSION
from backendpool.api.pool import parse_pool
from backendpool.controller.cache import Cache
from backendpool.controller.loop_thread import LoopThread
from backendpool.controller.resync import PoolResync, ResyncTiming, not_installed
from backendpool.errors import ClusterError, Malformed, Stalled
from backendpool.k8s.access import Access
from backendpool.k8s.client import PAGE, Api
from backendpool.k8s.reflector import ReflectorTiming
from backendpool.k8s.resources import POOLS
from backendpool.k8s.responses import object_in
from backendpool.k8s.session import observed_session
from backendpool.runtime.backoff import OutageLog
from backendpool.runtime.logs import FieldLogger

log = logging.getLogger(__name__)

TIMING: Final = ResyncTiming()

_WATCH_SECONDS: Final = 300
"""The time limit of a watch, after which watches spread over all API servers again."""


class PoolInformer:
    """Keeps the pools of ``namespaces`` (all, if empty) in ``cache``.

    ``api`` provides the credentials, read again after each rejection. ``failed`` is called with each error of a request
    and with what made kopf exit. ``resyncs`` are the resyncs by namespace (None: of all).
    """

    def __init__(
        self,
        cache: Cache,
        namespaces: Collection[str],
        instance: str,
        api: Api,
        failed: Callable[[Exception], None],
        timing: ResyncTiming = TIMING,
    ) -> None:
        self.resyncs: Mapping[str | None, PoolResync] = {
            namespace: PoolResync(api, cache, namespace, failed, self._restart, timing)
            for namespace in namespaces or (None,)
        }
        self._by_path = {POOLS.path(namespace): resync for namespace, resync in self.resyncs.items()}
        self.thread = LoopThread()
        self._events: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self._cache = cache
        self._namespaces = namespaces
        self._instance = instance
        self._api = api
        self._failed = failed
        self._timing = timing.retry
        self._outages: dict[str, OutageLog] = {}
        self._stop: Future[Exception] = Future()

    async def run(self) -> NoReturn:
        """Watch until cancelled, and restart kopf whenever it exits."""
        # kopf logs a line for each event and each retry, and each error twice.
        logging.getLogger("kopf").setLevel(logging.WARNING)
        for chatty in ("kopf._core.reactor", "kopf._cogs.clients"):
            logging.getLogger(chatty).setLevel(logging.CRITICAL)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_watching())
            group.create_task(self._process_events())
            for resync in self.resyncs.values():
                group.create_task(resync.run())
        raise AssertionError("no task returns")

    async def _process_events(self) -> NoReturn:
        """Process events outside of kopf, which would log an error here and continue without the pool."""
        while True:
            event = await self._events.get()
            try:
                self._process(event)
            except Malformed as error:
                self._record_failure("event", error)
            # One unexpected pool must not stop the watch on all others.
            except Exception as error:
                self._failed(error)
                log.exception("Event of a pool cannot be processed")

    def _process(self, event: Mapping[str, Any]) -> None:
        obj = object_in(event["object"])
        (self.resyncs.get(obj["metadata"]["namespace"]) or self.resyncs[None]).note_event()
        pool = parse_pool(obj)
        if event["type"] == "DELETED":
            self._cache.drop_pool(pool)
        else:
            self._cache.put_pool(pool)

    async def _keep_watching(self) -> NoReturn:
        failures, clock = 0, self._timing.clock
        while True:
            begun = clock()
            error = await self._watch()
            # The session has reported what the API server rejected.
            if not isinstance(error, APIError | kopf.LoginError):
                self._record_failure("kopf", error)
            failures = 1 if clock() - begun > self._timing.healthy_after else failures + 1
            await self._timing.sleep(self._timing.pause(failures))

    async def _watch(self) -> Exception:
        """Run kopf until it exits, and return the reason."""
        try:
            if not await self._api.serves(POOLS):
                return not_installed()
        except ClusterError as error:
            return error
        return await self._run_kopf()

    def _record_failure(self, what: str, error: Exception) -> None:
        """``what`` is the path of the request, or another source of errors."""
        self._failed(error)
        if isinstance(error, ClusterError) and what in self._by_path:
            self._by_path[what].watch_problem = error
        if what not in self._outages:
            outage_log = FieldLogger(log, resource=PLURAL, source=what)
            self._outages[what] = OutageLog(
                outage_log, "Watch failed, retrying", "Watch recovered", self._timing.healthy_after
            )
        self._outages[what].record_failure(error)

    def _record_watch(self, path: str) -> None:
        self._by_path[path].watch_problem = None
        for what, outage in self._outages.items():
            # The watches of other namespaces may still fail, but the requests before a watch have succeeded.
            if what == path or not what.endswith(f"/{PLURAL}"):
                outage.record_success()

    def _restart(self, reason: Stalled) -> None:
        if not self._stop.done():
            self._stop.set_result(reason)

    async def _run_kopf(self) -> Exception:
        self._stop = stop = Future[Exception]()
        registry = kopf.OperatorRegistry()
        self._register(registry, asyncio.get_running_loop())
        try:
            operating = _operate(
                stop,
                registry=registry,
                settings=_kopf_settings(self._timing),
                standalone=True,
                # By default kopf asks the system for the user's name, which an image does not have.
                identity=Identity(self._instance),
                clusterwide=not self._namespaces,
                namespaces=self._namespaces,
            )
            await self.thread.run(operating)
        # kopf raises exceptions of many kinds.
        except Exception as error:  # noqa: BLE001
            return error
        finally:
            stop.cancel()
        return RuntimeError("kopf exited unexpectedly")

    def _register(self, registry: kopf.OperatorRegistry, loop: asyncio.AbstractEventLoop) -> None:
        """Register handlers that run in kopf's thread and pass every event to ``loop``."""
        sessions: dict[Access, kopf.AiohttpSession] = {}
        call_soon = loop.call_soon_threadsafe

        # Coroutines, though they await nothing: kopf runs plain functions in further threads.
        @kopf.on.login(registry=registry, id="login")
        async def login(**_: Any) -> kopf.AiohttpSession:
            access = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._api.access(), loop))
            if access not in sessions:
                session = observed_session(
                    access,
                    self._api.user_agent,
                    lambda verb: call_soon(self._api.requests.update, (verb,)),
                    lambda path, error: call_soon(self._record_failure, path, error),
                    lambda path: call_soon(self._record_watch, path),
                    self._timing,
                )
                sessions[access] = kopf.AiohttpSession(server=access.server, aiohttp_session=session)
            # kopf recognizes credentials that were rejected before, and exits.
            return sessions[access]

        @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry, id="pool")
        async def pool_event(event: kopf.RawEvent, **_: Any) -> None:
            call_soon(self._events.put_nowait, {"type": event["type"], "object": dict(event["object"])})


async def _operate(stop: Future[Exception], **kwargs: Any) -> None:
    """Run kopf until ``stop`` is done; raises the result of ``stop``, or kopf's own error."""
    vault, loop = Vault(), asyncio.get_running_loop()
    # Not with kopf's stop_flag: at its exit, kopf waits 5 s for the task that waits for the flag.
    operator = asyncio.create_task(kopf.operator(vault=vault, **kwargs))
    stop.add_done_callback(lambda _: loop.call_soon_threadsafe(operator.cancel))
    try:
        await operator
    except asyncio.CancelledError:
        if stop.cancelled():
            raise
        # The caller must not mistake it for a cancellation of its own task.
        raise (stop.result() if stop.done() else RuntimeError("kopf cancelled itself")) from None
    finally:
        stop.cancel()
        await vault.close()  # closes the connections, which kopf does not do after an error


def _kopf_settings(timing: ReflectorTiming) -> kopf.OperatorSettings:
    """Return settings with which kopf watches through every outage, stores nothing and writes nothing."""
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True  # otherwise kopf needs permission to watch CRDs and namespaces
    settings.posting.enabled = False  # EventRecorder posts the events
    settings.networking.error_backoffs = _EndlessBackoff(timing)
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.networking.enforce_retry_after = True
    settings.watching.server_timeout = _WATCH_SECONDS
    settings.watching.client_timeout = _WATCH_SECONDS + timing.idle_timeout
    settings.watching.inactivity_timeout = timing.idle_timeout
    settings.watching.chunk_size = PAGE
    # kopf keeps each object in memory for this long after its last event; at a start, all of them.
    settings.queueing.idle_timeout = 0.1
    settings.persistence.diffbase_storage = _NoDiffBase()
    return settings


class _EndlessBackoff:
    """The delays between kopf's retries. A finite number of them would make kopf exit during an outage.

    kopf iterates over it again for each request, so it is an iterable and not an iterator.
    """

    def __init__(self, timing: ReflectorTiming) -> None:
        self._timing = timing

    def __iter__(self) -> Iterator[float]:
        return map(self._timing.pause, count(1))


class _NoDiffBase(kopf.DiffBaseStorage):
    """Turns off diffs, for which kopf would copy each object at each event."""

    def build(self, *, body: kopf.Body, extra_fields: object = None) -> kopf.BodyEssence:
        return kopf.BodyEssence({})

    def fetch(self, *, body: kopf.Body) -> None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        return None

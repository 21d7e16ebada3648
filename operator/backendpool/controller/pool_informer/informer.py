"""The watch on pools: kopf turns the API server's events into keys, and does nothing else.

``@kopf.on.event`` on purpose: kopf's create and update handlers would add annotations, finalizers and PATCHes
of their own to a resource whose every write we want to know (see docs/adr/0002-kopf-only-watches.md).

kopf ends on a refused token, an ERROR event, half a line or a CRD that is gone, and cancels all tasks of its loop as it
does. So it has a thread and a loop of its own, and is started again, where the kind is served: it looks for it once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from typing import Any, NoReturn

import kopf
from kopf._cogs.clients.errors import APIError  # exported nowhere, as the next two
from kopf._cogs.structs.credentials import Vault
from kopf._core.engines.peering import Identity

from backendpool.api.constants import GROUP, PLURAL, VERSION
from backendpool.api.pool import parse_pool
from backendpool.controller.cache import Cache
from backendpool.controller.loop_thread import Aside
from backendpool.controller.pool_informer.kopf_settings import quiet_settings
from backendpool.controller.resync import Sweep, SweepTiming, not_installed
from backendpool.errors import ClusterError, Malformed, Stalled
from backendpool.k8s.access import Access
from backendpool.k8s.client import Api
from backendpool.k8s.resources import POOLS
from backendpool.k8s.responses import object_in
from backendpool.k8s.session import observed_session
from backendpool.runtime.backoff import OutageLog

log = logging.getLogger(__name__)

TIMING = SweepTiming()


class PoolWatch:
    """Keeps ``cache`` up to date with the pools of ``namespaces`` (all, where none is named).

    ``api`` says where the API server is, asked anew after each refusal. ``failed`` is told each request that failed,
    and what else ended kopf. ``views`` say of each namespace (None: of all) how current what is known of it is.
    ``thread`` is kopf's.
    """

    def __init__(
        self,
        cache: Cache,
        namespaces: Collection[str],
        instance: str,
        api: Api,
        failed: Callable[[Exception], None],
        timing: SweepTiming = TIMING,
    ) -> None:
        self.views: Mapping[str | None, Sweep] = {
            namespace: Sweep(api, cache, namespace, failed, self._restart, timing)
            for namespace in namespaces or (None,)
        }
        self._by_path = {POOLS.path(namespace): view for namespace, view in self.views.items()}
        self.thread = Aside()
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
        """Watch until cancelled, through all that ends kopf."""
        # Its own log has a line for each event that was handled and for each try, and says what ended it twice.
        logging.getLogger("kopf").setLevel(logging.WARNING)
        for chatty in ("kopf._core.reactor", "kopf._cogs.clients"):
            logging.getLogger(chatty).setLevel(logging.CRITICAL)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._take())
            for view in self.views.values():
                group.create_task(view.run())
        raise AssertionError("none ever returns")

    async def _take(self) -> NoReturn:
        """Outside of kopf, which would log what goes wrong here, and go on without the pool."""
        while True:
            event = await self._events.get()
            try:
                self._take_event(event)
            except Malformed as error:
                self._fails("an event", error)
            # One pool that nobody foresaw must not blind us to all others.
            except Exception as error:
                self._failed(error)
                log.exception("an event of a pool cannot be used")

    def _take_event(self, event: Mapping[str, Any]) -> None:
        obj = object_in(event["object"])
        (self.views.get(obj["metadata"]["namespace"]) or self.views[None]).heard()
        pool = parse_pool(obj)
        if event["type"] == "DELETED":
            self._cache.drop_pool(pool)
        else:
            self._cache.put_pool(pool)

    async def _follow(self) -> NoReturn:
        failures, now = 0, asyncio.get_running_loop().time
        while True:
            begun = now()
            error = await self._attempt()
            # Its session has told of what the API server refused.
            if not isinstance(error, APIError | kopf.LoginError):
                self._fails("kopf", error)
            failures = 1 if now() - begun > self._timing.healthy_after else failures + 1
            await self._timing.sleep(self._timing.pause(failures))

    async def _attempt(self) -> Exception:
        """Watch as long as it goes, and return what ended it."""
        try:
            if not await self._api.serves(POOLS):
                return not_installed()
        except ClusterError as error:
            return error
        return await self._run_kopf()

    def _fails(self, what: str, error: Exception) -> None:
        self._failed(error)
        if isinstance(error, ClusterError) and what in self._by_path:
            self._by_path[what].watch_problem = error
        outage = OutageLog(log, f"{PLURAL} cannot be watched", f"watching {PLURAL} again", self._timing.healthy_after)
        self._outages.setdefault(what, outage).record_failure(error)

    def _watches(self, path: str) -> None:
        self._by_path[path].watch_problem = None
        for what, outage in self._outages.items():
            # The watches of other namespaces may fail on; what comes before a watch does not.
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
                settings=quiet_settings(self._timing),
                standalone=True,
                # Else kopf asks the system for the user's name, and the one of an image has none.
                identity=Identity(self._instance),
                clusterwide=not self._namespaces,
                namespaces=self._namespaces,
            )
            await self.thread.run(operating)
        # Whatever kopf's watch met: it has no errors of its own for most of it.
        except Exception as error:  # noqa: BLE001
            return error
        finally:
            stop.cancel()
        return RuntimeError("kopf ended without being told to")

    def _register(self, registry: kopf.OperatorRegistry, loop: asyncio.AbstractEventLoop) -> None:
        """Handlers that hand all over to ``loop``, where we are at home."""
        known: dict[Access, kopf.AiohttpSession] = {}
        there = loop.call_soon_threadsafe

        # Coroutines, though nothing is awaited: kopf runs plain functions in threads.
        @kopf.on.login(registry=registry, id="login")
        async def login(**_: Any) -> kopf.AiohttpSession:
            access = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._api.access(), loop))
            if access not in known:
                session = observed_session(
                    access,
                    self._api.user_agent,
                    lambda verb: there(self._api.requests.update, (verb,)),
                    lambda path, error: there(self._fails, path, error),
                    lambda path: there(self._watches, path),
                    self._timing,
                )
                known[access] = kopf.AiohttpSession(server=access.server, aiohttp_session=session)
            # Credentials that were refused before are the same ones to kopf as well, and it ends.
            return known[access]

        @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry, id="pool")
        async def pool_event(event: kopf.RawEvent, **_: Any) -> None:
            there(self._events.put_nowait, {"type": event["type"], "object": dict(event["object"])})


async def _operate(stop: Future[Exception], **kwargs: Any) -> None:
    """Run kopf until ``stop`` is done, and raise what ended it: its result, or an error of kopf's own."""
    vault, loop = Vault(), asyncio.get_running_loop()
    # Not by kopf's stop_flag: as it ends, kopf waits 5 s for the task that waits for the flag.
    operator = asyncio.create_task(kopf.operator(vault=vault, **kwargs))
    stop.add_done_callback(lambda _: loop.call_soon_threadsafe(operator.cancel))
    try:
        await operator
    except asyncio.CancelledError:
        if stop.cancelled():
            raise
        # To those who wait for this thread, a cancellation would be one of theirs.
        raise (stop.result() if stop.done() else RuntimeError("kopf cancelled itself")) from None
    finally:
        stop.cancel()
        await vault.close()  # its connections, which kopf closes only where it ends in good order

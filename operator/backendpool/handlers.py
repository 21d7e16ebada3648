"""The watch on pools: kopf turns the API server's events into keys, and does nothing else.

``@kopf.on.event`` on purpose: kopf's create and update handlers would add annotations, finalizers and PATCHes
of their own to a resource whose every write we want to know (see docs/adr/0002-kopf-only-watches.md).

kopf ends on a refused token, an ERROR event, half a line or a CRD that is gone, and cancels all tasks of its event
loop as it does. So it has a thread and a loop of its own, and is started again; what is known stays. Where the CRD is
missing as it starts, it would never look again: it is started only where the kind is served.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, NoReturn

import kopf
from kopf._cogs.structs.credentials import Vault  # types of public arguments, exported nowhere
from kopf._core.engines.peering import Identity

from backendpool.cache import Cache
from backendpool.cluster.api import Api
from backendpool.cluster.credentials import Access
from backendpool.cluster.resources import POOLS
from backendpool.errors import ClusterError, NotFound
from backendpool.names import GROUP, PLURAL, VERSION
from backendpool.pool import parse_pool

log = logging.getLogger(__name__)

_BACKOFF, _LONGEST_BACKOFF = 0.5, 10.0
_SETTLED = 5.0
"""Seconds that kopf must have run for its failures before to be forgotten."""


class _ForEver:
    """Seconds between kopf's attempts to reach the API server; endless, else an outage ends the process.

    kopf iterates over it anew for each request, so it is an iterable and not an iterator.
    """

    def __iter__(self) -> Iterator[float]:
        seconds = _BACKOFF
        while True:
            yield seconds
            seconds = min(seconds * 2, _LONGEST_BACKOFF)


class PoolWatch:
    """Keeps ``cache`` up to date with the pools of ``namespaces`` (all, where none is named).

    ``api`` says where the API server is, asked anew after each refusal. ``failed`` is told each end of the watch.
    ``started`` says whether there was anything to watch yet, ``problem`` what ended the watch last.
    """

    def __init__(
        self,
        cache: Cache,
        namespaces: Collection[str],
        instance: str,
        api: Api,
        failed: Callable[[Exception], None],
    ) -> None:
        self.started = False
        self.problem: Exception | None = None
        self._events: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self._cache = cache
        self._namespaces = namespaces
        self._instance = instance
        self._api = api
        self._failed = failed

    async def run(self) -> NoReturn:
        """Watch until cancelled, through all that ends kopf. A bug in what we do with an event is raised."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._take())
        raise AssertionError("neither ever returns")

    async def _take(self) -> NoReturn:
        """Outside of kopf, which would log what goes wrong here, and go on without the pool."""
        while True:
            event = await self._events.get()
            pool = parse_pool(event["object"])
            if event["type"] == "DELETED":
                self._cache.drop_pool(pool)
            else:
                self._cache.put_pool(pool)

    async def _follow(self) -> NoReturn:
        # A line for each event that was handled, or for each try, says nothing; our own log tells what was done.
        logging.getLogger("kopf").setLevel(logging.WARNING)
        logging.getLogger("kopf._core.reactor").setLevel(logging.CRITICAL)
        failures, reported = 0, ""
        while True:
            begun = asyncio.get_running_loop().time()
            error = await self._attempt()
            if asyncio.get_running_loop().time() - begun > _SETTLED:
                failures, reported = 0, ""
            self.problem = error
            self._failed(error)
            failures += 1
            if type(error).__name__ != reported:
                log.warning("pools cannot be watched, trying again: %r", error)
            reported = type(error).__name__
            await asyncio.sleep(random.uniform(0.5, 1.0) * min(_BACKOFF * 2.0 ** min(failures, 16), _LONGEST_BACKOFF))

    async def _attempt(self) -> Exception:
        """Watch as long as it goes, and return what ended it."""
        try:
            if not await self._api.serves(POOLS):
                return NotFound(404, "NotFound", f"the CRD of {PLURAL}.{GROUP} is not installed: apply crds/")
        except ClusterError as error:
            return error
        self.started = True
        return await self._run_kopf()

    async def _run_kopf(self) -> Exception:
        stop: Future[None] = Future()
        registry = kopf.OperatorRegistry()
        self._register(registry, asyncio.get_running_loop())
        try:
            await asyncio.to_thread(
                asyncio.run,
                _operate(
                    stop,
                    registry=registry,
                    settings=_settings(),
                    standalone=True,
                    # Else kopf asks the system for the user's name, and the one of an image has none.
                    identity=Identity(self._instance),
                    clusterwide=not self._namespaces,
                    namespaces=self._namespaces,
                ),
            )
        # Whatever kopf's watch met: it has no errors of its own for most of it.
        except Exception as error:  # noqa: BLE001
            return error
        finally:
            stop.cancel()
        return RuntimeError("kopf ended without being told to")

    def _register(self, registry: kopf.OperatorRegistry, loop: asyncio.AbstractEventLoop) -> None:
        """Handlers that hand all over to ``loop``, where we are at home."""

        # Coroutines, though nothing is awaited: kopf runs plain functions in threads.
        @kopf.on.login(registry=registry, id="login")
        async def login(**_: Any) -> kopf.ConnectionInfo:
            asked = asyncio.run_coroutine_threadsafe(self._api.access(), loop)
            return _connection(await asyncio.wrap_future(asked))

        @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry, id="pool")
        async def pool_event(event: kopf.RawEvent, **_: Any) -> None:
            loop.call_soon_threadsafe(self._events.put_nowait, {"type": event["type"], "object": dict(event["object"])})


async def _operate(stop: Future[None], **kwargs: Any) -> None:
    """Run kopf until ``stop`` is done, or raise what ended it."""
    vault, loop = Vault(), asyncio.get_running_loop()
    # Not by kopf's stop_flag: as it ends, kopf waits 5 s for the task that waits for the flag.
    operator = asyncio.create_task(kopf.operator(vault=vault, **kwargs))
    stop.add_done_callback(lambda _: loop.call_soon_threadsafe(operator.cancel))
    try:
        await operator
    finally:
        stop.cancel()
        await vault.close()  # its connections, which kopf closes only where it ends in good order


def _connection(access: Access) -> kopf.ConnectionInfo:
    scheme, _, token = (access.authorization or "").partition(" ")
    return kopf.ConnectionInfo(
        server=access.server,
        scheme=scheme or None,
        token=token or None,
        ca_path=access.ca_path,
        certificate_path=access.certificate_path,
        private_key_path=access.private_key_path,
        insecure=not access.verify,
    )


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True  # no right to watch CRDs and namespaces is asked for
    settings.posting.enabled = False  # our own events carry our own reasons
    settings.networking.error_backoffs = _ForEver()
    settings.networking.request_timeout = 30
    settings.networking.enforce_retry_after = True
    return settings

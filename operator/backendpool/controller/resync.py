"""A periodic resync of pools: list them, and compare the list with the cache.

kopf loses deletions that happen while its watch is interrupted. A watch may also be open and silent, or omit single
events. A list that matches the cache proves that the cache was current when the request was sent.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NoReturn, TypeAlias

from backendpool.api.pool import Pool, parse_pool
from backendpool.controller.cache import Cache
from backendpool.errors import ClusterError, NotFound, Stalled
from backendpool.k8s.client import Api
from backendpool.k8s.reflector import ReflectorTiming
from backendpool.k8s.request import Document
from backendpool.k8s.resources import POOLS
from backendpool.k8s.store import is_newer
from backendpool.runtime.backoff import OutageLog
from backendpool.runtime.clock import since_boot
from backendpool.runtime.logs import FieldLogger

log = logging.getLogger(__name__)

_PAGE = 500
"""Pools in a page of a list, which has only their metadata."""

_MAX_READS = 10
"""Pools read one by one after a list: a watch that left out more than a few is slow, not broken."""

PendingVersions: TypeAlias = Mapping[str, tuple[str, float]]
"""By uid: a version that was listed and is not in the cache yet, and since when."""


@dataclass(frozen=True, slots=True)
class ResyncTiming:
    """In seconds: ``interval`` is the time between lists that match the cache, plus or minus a fifth.

    After ``grace``, a pending version leads to a restart of the watch if that has brought nothing at all, and to a read
    of the pool otherwise. The pauses after a failed or differing list are those of ``retry``.
    """

    interval: float = 60.0
    grace: float = 15.0
    retry: ReflectorTiming = field(default_factory=ReflectorTiming)
    clock: Callable[[], float] = since_boot


class PoolResync:
    """Lists the pools of ``namespace`` (None: of all), and removes deleted ones from ``cache``.

    ``failed`` is called with each error of a list, ``stalled`` if the watch brings nothing although the list differs.
    ``watch_problem`` is set by the owner of the watch: its last error, None while the pools are watched.
    """

    def __init__(
        self,
        api: Api,
        cache: Cache,
        namespace: str | None,
        failed: Callable[[Exception], None],
        stalled: Callable[[Stalled], None],
        timing: ResyncTiming,
    ) -> None:
        self.watch_problem: ClusterError | None = None
        self._list_problem: ClusterError | None = None
        self._api = api
        self._cache = cache
        self._namespace = namespace
        self._failed = failed
        self._stalled = stalled
        self._timing = timing
        outage_log = FieldLogger(log, resource=POOLS.plural, namespace=namespace)
        self._outage = OutageLog(outage_log, "List failed, retrying", "List recovered", timing.retry.healthy_after)
        self._pending: PendingVersions = {}
        self._unusable: dict[str, str] = {}  # resource version by uid; not pending
        self._last_event_at = self._current_at = -math.inf

    @property
    def synced(self) -> bool:
        """Whether the cache has matched a list at least once."""
        return self._current_at > -math.inf

    @property
    def problem(self) -> ClusterError | None:
        """The error of the last list or of the watch, if any."""
        return self._list_problem or self.watch_problem

    def age(self) -> float:
        """Seconds since the cache was last known to be current; infinite before the first match."""
        return self._timing.clock() - self._current_at

    def note_event(self) -> None:
        """Note that the watch has brought an event."""
        self._last_event_at = self._timing.clock()

    async def run(self) -> NoReturn:
        """Resync until cancelled, through every ``ClusterError``."""
        retries = 0
        while True:
            retries = 0 if await self._try_resync() else retries + 1
            pause = self._timing.retry.pause(retries) if retries else self._timing.interval * random.uniform(0.8, 1.2)
            await self._timing.retry.sleep(pause)

    async def _try_resync(self) -> bool:
        try:
            matches = await self._resync()
        except ClusterError as error:
            self._list_problem = error
            self._failed(error)
            self._outage.record_failure(error)
            return False
        self._list_problem = None
        self._outage.record_success()
        return matches

    async def _resync(self) -> bool:
        """Return whether the cache matches a complete list."""
        begun, known = self._timing.clock(), self._cached()
        listed = await self._list()
        for pool in known:
            if pool.uid not in listed:
                log.info("Removing a pool that is no longer listed", extra={"pool": "/".join(pool.key)})
                self._cache.drop_pool(pool)
        held = {pool.uid: pool.resource_version for pool in self._cached()}
        self._unusable = {uid: version for uid, version in self._unusable.items() if uid in listed}
        versions = {
            uid: meta["resourceVersion"]
            for uid, meta in listed.items()
            if self._unusable.get(uid) != meta["resourceVersion"]
        }
        self._pending = pending_versions(self._pending, versions, held, begun)
        if not self._pending:
            self._current_at = begun
            return True
        overdue = [uid for uid, (_, since) in self._pending.items() if begun - since > self._timing.grace]
        if overdue and begun - self._last_event_at > self._timing.grace:
            changed = len(self._pending)
            self._pending = {}  # the new watch has the full grace
            self._stalled(Stalled(f"the watch is silent, though a list shows {changed} made or changed"))
        else:
            await self._read([listed[uid] for uid in overdue[:_MAX_READS]])
        return False

    async def _read(self, overdue: Iterable[Document]) -> None:
        """Read these pools. One that was deleted meanwhile is removed after the next list."""
        for meta in overdue:
            pool = f"{meta['namespace']}/{meta['name']}"
            log.info("Reading a pool whose change the watch missed", extra={"pool": pool})
            with suppress(NotFound):
                self._put(await self._api.get(POOLS, meta["namespace"], meta["name"]))

    def _put(self, obj: Document) -> None:
        try:
            self._cache.put_pool(parse_pool(obj))
        # One unexpected pool must not keep the others from being read, or the operator from being ready.
        except Exception as error:
            self._unusable[obj["metadata"]["uid"]] = obj["metadata"]["resourceVersion"]
            self._failed(error)
            pool = f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"
            log.exception("Pool cannot be processed, ignoring this version", extra={"pool": pool})

    async def _list(self) -> dict[str, Document]:
        """List the metadata of all pools, by uid."""
        found: dict[str, Document] = {}
        token = ""
        while True:
            try:
                page = await self._api.list_page(
                    POOLS, self._namespace, limit=_PAGE, continue_token=token, metadata_only=True
                )
            except NotFound:
                raise not_installed() from None
            found |= {item["metadata"]["uid"]: item["metadata"] for item in page["items"]}
            token = page["metadata"].get("continue", "")
            if not token:
                return found

    def _cached(self) -> list[Pool]:
        return [pool for pool in self._cache.pools().values() if self._namespace in (None, pool.namespace)]


def not_installed() -> NotFound:
    """Return the error for a missing CRD."""
    return NotFound(404, "NotFound", f"the CRD of {POOLS.plural}.{POOLS.group} is not installed: apply crds/")


def pending_versions(
    earlier: PendingVersions, listed: Mapping[str, str], cached: Mapping[str, str], now: float
) -> PendingVersions:
    """Return the ``listed`` versions that are newer than the cached ones; those not pending ``earlier`` begin ``now``.

    A version stays pending until the cache has it or a newer one, however often the pool changes meanwhile.
    """

    def is_ahead(uid: str, version: str) -> bool:
        return uid not in cached or is_newer(version, cached[uid])

    return {
        uid: earlier[uid] if uid in earlier and is_ahead(uid, earlier[uid][0]) else (version, now)
        for uid, version in listed.items()
        if is_ahead(uid, version)
    }

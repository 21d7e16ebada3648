"""Whether what the watch on pools brought is what there is: now and then they are listed, and compared.

kopf loses deletions that happen while its watch is broken, and a watch may be open and say nothing of what happens,
or leave out one thing of many. A list that agrees with what is known proves it current as of the moment that the list
was asked for.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NoReturn

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

log = logging.getLogger(__name__)

_PAGE = 500
"""Pools in a page of a list: there is no more of them than their metadata."""

_READ = 10
"""Pools read one by one after a list: a watch that left out more than a few is slow rather than at fault."""

Awaited = Mapping[str, tuple[str, float]]
"""By uid: the version that a list showed and the watch has yet to bring, and since when."""


@dataclass(frozen=True, slots=True)
class SweepTiming:
    """In seconds: ``interval`` is between lists that agree with what is known, more or less by a fifth.

    ``grace`` is how long something may be awaited of the watch: then it is begun anew if it brings nothing at all, and
    what it left out is read if it does. Pauses after lists that failed, or did not agree, are those of ``retry``.
    """

    interval: float = 60.0
    grace: float = 15.0
    retry: ReflectorTiming = field(default_factory=ReflectorTiming)
    clock: Callable[[], float] = since_boot


class Sweep:
    """Lists the pools of ``namespace`` (None: of all), and takes out of ``cache`` those that are gone.

    ``failed`` is told each list that failed, ``stalled`` that the watch brings nothing of what the list shows.
    ``watch_problem`` is for whoever runs the watch to say what it failed of last, None while it is watched.
    """

    def __init__(
        self,
        api: Api,
        cache: Cache,
        namespace: str | None,
        failed: Callable[[Exception], None],
        stalled: Callable[[Stalled], None],
        timing: SweepTiming,
    ) -> None:
        self.watch_problem: ClusterError | None = None
        self._list_problem: ClusterError | None = None
        self._api = api
        self._cache = cache
        self._namespace = namespace
        self._failed = failed
        self._stalled = stalled
        self._timing = timing
        begin, end = f"{POOLS.plural} cannot be listed", f"listing {POOLS.plural} again"
        self._outage = OutageLog(log, begin, end, timing.retry.healthy_after)
        self._awaited: Awaited = {}
        self._unusable: dict[str, str] = {}  # resource version by uid; no longer awaited
        self._heard_at = self._current_at = -math.inf

    @property
    def synced(self) -> bool:
        """Whether all pools are known that there were at some moment."""
        return self._current_at > -math.inf

    @property
    def problem(self) -> ClusterError | None:
        """What the last list or the watch failed of, if one did."""
        return self._list_problem or self.watch_problem

    def age(self) -> float:
        """Seconds since the pools known were last proved to be those that there are; infinite before."""
        return self._timing.clock() - self._current_at

    def heard(self) -> None:
        """The watch brought something."""
        self._heard_at = self._timing.clock()

    async def run(self) -> NoReturn:
        """List and compare until cancelled, through every ``ClusterError``."""
        retries = 0
        while True:
            retries = 0 if await self._agrees() else retries + 1
            pause = self._timing.retry.pause(retries) if retries else self._timing.interval * random.uniform(0.8, 1.2)
            await self._timing.retry.sleep(pause)

    async def _agrees(self) -> bool:
        try:
            agrees = await self._compare()
        except ClusterError as error:
            self._list_problem = error
            self._failed(error)
            self._outage.record_failure(error)
            return False
        self._list_problem = None
        self._outage.record_success()
        return agrees

    async def _compare(self) -> bool:
        """Whether the pools known are those listed. Nothing is done before the list is complete."""
        begun, known = self._timing.clock(), self._known()
        listed = await self._list()
        for pool in known:
            if pool.uid not in listed:
                log.info("pool %s/%s is gone, as a list shows", *pool.key)
                self._cache.drop_pool(pool)
        held = {pool.uid: pool.resource_version for pool in self._known()}
        self._unusable = {uid: version for uid, version in self._unusable.items() if uid in listed}
        versions = {
            uid: meta["resourceVersion"]
            for uid, meta in listed.items()
            if self._unusable.get(uid) != meta["resourceVersion"]
        }
        self._awaited = awaited(self._awaited, versions, held, begun)
        if not self._awaited:
            self._current_at = begun
            return True
        overdue = [uid for uid, (_, since) in self._awaited.items() if begun - since > self._timing.grace]
        if overdue and begun - self._heard_at > self._timing.grace:
            changed = len(self._awaited)
            self._awaited = {}  # what is begun anew has its grace again
            self._stalled(Stalled(f"the watch is silent, though a list shows {changed} made or changed"))
        else:
            await self._read([listed[uid] for uid in overdue[:_READ]])
        return False

    async def _read(self, overdue: Iterable[Document]) -> None:
        """Take these pools as they are now. One that goes meanwhile is missed by the next list at the latest."""
        for meta in overdue:
            log.info("pool %s/%s is read: a list shows what the watch left out", meta["namespace"], meta["name"])
            with suppress(NotFound):
                self._take(await self._api.get(POOLS, meta["namespace"], meta["name"]))

    def _take(self, obj: Document) -> None:
        try:
            self._cache.put_pool(parse_pool(obj))
        # One pool that nobody foresaw must not keep the others from being read, nor the operator from being ready.
        except Exception as error:
            self._unusable[obj["metadata"]["uid"]] = obj["metadata"]["resourceVersion"]
            self._failed(error)
            log.exception("pool %s/%s cannot be used", obj["metadata"]["namespace"], obj["metadata"]["name"])

    async def _list(self) -> dict[str, Document]:
        """The metadata of all pools by uid."""
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

    def _known(self) -> list[Pool]:
        return [pool for pool in self._cache.pools().values() if self._namespace in (None, pool.namespace)]


def not_installed() -> NotFound:
    """What to say where there can be no pools."""
    return NotFound(404, "NotFound", f"the CRD of {POOLS.plural}.{POOLS.group} is not installed: apply crds/")


def awaited(earlier: Awaited, listed: Mapping[str, str], held: Mapping[str, str], now: float) -> Awaited:
    """What is yet to come of what is ``listed``; ``now`` counts for what was not awaited ``earlier``."""

    def is_ahead(uid: str, version: str) -> bool:
        return uid not in held or is_newer(version, held[uid])

    return {
        uid: earlier[uid] if uid in earlier and is_ahead(uid, earlier[uid][0]) else (version, now)
        for uid, version in listed.items()
        if is_ahead(uid, version)
    }

"""Whether what the watch on pools brought is what there is: now and then they are listed, and compared.

kopf loses deletions that happen while its watch is broken, and a watch may be open and say nothing of what happens.
A list that agrees with what is known proves it current as of the moment that the list was asked for.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from backendpool.cache import Cache, is_newer
from backendpool.cluster.api import Api
from backendpool.cluster.reflector import ReflectorTiming
from backendpool.cluster.resources import POOLS
from backendpool.errors import ClusterError, NotFound, Stalled
from backendpool.outage import Outage
from backendpool.pool import Pool

log = logging.getLogger(__name__)

_PAGE = 500
"""Pools in a page of a list: there is no more of them than their metadata."""

Awaited = Mapping[str, tuple[str, float]]
"""By uid: the version that a list showed and the watch has yet to bring, and since when."""


@dataclass(frozen=True, slots=True)
class SweepTiming:
    """In seconds: ``interval`` is between lists that agree with what is known, more or less by a fifth.

    ``grace`` is how long the watch may bring nothing while something is awaited of it. Pauses after lists that failed,
    or did not agree, are those of ``retry``.
    """

    interval: float = 60.0
    grace: float = 15.0
    retry: ReflectorTiming = field(default_factory=ReflectorTiming)
    clock: Callable[[], float] = time.monotonic


class Sweep:
    """Lists the pools of ``namespace`` (None: of all), and takes out of ``cache`` those that are gone.

    ``failed`` is told each list that failed, ``stalled`` that the watch brings nothing of what the list shows.
    ``problem`` is what the last list failed of, if it did.
    """

    def __init__(
        self,
        api: Api,
        cache: Cache,
        namespace: str | None,
        failed: Callable[[ClusterError], None],
        stalled: Callable[[Stalled], None],
        timing: SweepTiming,
    ) -> None:
        self.problem: ClusterError | None = None
        self._api = api
        self._cache = cache
        self._namespace = namespace
        self._failed = failed
        self._stalled = stalled
        self._timing = timing
        begin, end = f"{POOLS.plural} cannot be listed", f"listing {POOLS.plural} again"
        self._outage = Outage(log, begin, end, timing.retry.settled)
        self._awaited: Awaited = {}
        self._heard_at = self._current_at = -math.inf

    @property
    def synced(self) -> bool:
        """Whether all pools are known that there were at some moment."""
        return self._current_at > -math.inf

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
            self.problem = error
            self._failed(error)
            self._outage.failed(error)
            return False
        self.problem = None
        self._outage.worked()
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
        self._awaited = awaited(self._awaited, listed, held, begun)
        if not self._awaited:
            self._current_at = begun
            return True
        silent_since = max(self._heard_at, min(since for _, since in self._awaited.values()))
        if begun - silent_since > self._timing.grace:
            changed = len(self._awaited)
            self._awaited = {}  # what is begun anew has its grace again
            self._stalled(Stalled(f"the watch is silent, though a list shows {changed} made or changed"))
        return False

    async def _list(self) -> dict[str, str]:
        """The versions of all pools by uid."""
        found: dict[str, str] = {}
        token = ""
        while True:
            try:
                page = await self._api.list_page(
                    POOLS, self._namespace, limit=_PAGE, continue_token=token, metadata_only=True
                )
            except NotFound:
                raise not_installed() from None
            found |= {item["metadata"]["uid"]: item["metadata"]["resourceVersion"] for item in page["items"]}
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

"""The resync of pools against a scripted API server."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Never

import pytest
import pytest_asyncio
from aiohttp import web

from backendpool.api.pool import Pool
from backendpool.controller import resync as resync_module
from backendpool.controller.cache import Cache
from backendpool.controller.resync import PoolResync, ResyncTiming, pending_versions
from backendpool.errors import Stalled
from backendpool.k8s.client import Api
from backendpool.k8s.reflector import ReflectorTiming
from tests.fakes.clock import FakeClock
from tests.fakes.objects import parsed_pool, pool
from tests.fakes.until import until
from tests.unit.k8s.scripted import Answer, ScriptedServer, answer, page, raw, refuse


class Resyncing:
    """A resync of the namespace "default" that runs round by round on a manual clock."""

    def __init__(self, server: ScriptedServer, api: Api) -> None:
        self.now = 1000.0
        self.failures: list[Exception] = []
        self.stalls: list[Stalled] = []
        self.pauses: list[float] = []
        self.cache = Cache(lambda _: None, FakeClock().call_later)
        retry = ReflectorTiming(backoff=1, longest_backoff=10, sleep=self._sleep, jitter=max)
        timing = ResyncTiming(interval=100, grace=15, retry=retry, clock=lambda: self.now)
        self.resync = PoolResync(api, self.cache, "default", self.failures.append, self.stalls.append, timing)
        self.task = asyncio.create_task(self._run())
        self._server = server
        self._due = asyncio.Semaphore(0)

    async def _run(self) -> None:
        await self._due.acquire()
        await self.resync.run()

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await self._due.acquire()

    async def round(self, *answers: Answer) -> None:
        """Run one round: list the pools and return these responses."""
        rounds = len(self.pauses)
        self._server.script(*answers)
        self._due.release()
        await until(lambda: len(self.pauses) > rounds or self.task.done())
        assert not self.task.done(), self.task.exception()

    def known(self) -> set[tuple[str, str]]:
        return set(self.cache.pools())


@pytest_asyncio.fixture
async def resyncing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Resyncing]:
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    server = ScriptedServer()
    async with server.serving(), await Api.connect(server.kubeconfig(tmp_path, {"token": "secret"})) as api:
        resyncing = Resyncing(server, api)
        yield resyncing
        resyncing.task.cancel()
        await asyncio.wait([resyncing.task])


def listed(name: str, version: int = 1, *, uid: str = "", namespace: str = "default") -> dict[str, Any]:
    """Return a pool as in a list."""
    return {"metadata": pool(name, namespace=namespace, uid=uid, resource_version=version)["metadata"]}


def brought(name: str, version: int = 1, *, uid: str = "", namespace: str = "default") -> Pool:
    """Return a pool as from the watch."""
    return parsed_pool(name, namespace=namespace, uid=uid, resource_version=version)


async def test_list_that_agrees_proves_that_all_is_known(resyncing: Resyncing) -> None:
    """A matching list proves the cache current as of its request; the next list follows after the interval."""
    assert not resyncing.resync.synced
    assert resyncing.resync.age() == math.inf
    resyncing.cache.put_pool(brought("a", 3))

    async def slowly(request: web.Request) -> web.StreamResponse:
        resyncing.now += 2
        return await page(listed("a", 3), version=9)(request)

    await resyncing.round(slowly)
    resyncing.now += 5
    assert resyncing.resync.synced
    assert resyncing.resync.age() == 7
    assert 80 <= resyncing.pauses[0] <= 120


async def test_pool_that_is_gone_is_dropped(resyncing: Resyncing) -> None:
    """A pool whose deletion the watch lost is removed after the next list."""
    resyncing.cache.put_pool(brought("a"))
    resyncing.cache.put_pool(brought("b"))
    await resyncing.round(page(listed("b"), version=9))
    assert resyncing.known() == {("default", "b")}


@pytest.mark.parametrize(
    "second",
    [refuse(500, "InternalError"), refuse(410, "Expired"), refuse(403, "Forbidden"), raw(b"{}"), raw(b'{"kind": "Li')],
    ids=["500", "410", "403", "no list", "cut"],
)
async def test_list_that_is_not_complete_drops_nothing(resyncing: Resyncing, second: Answer) -> None:
    """An incomplete list removes nothing, is counted as a failure, and is retried soon."""
    resyncing.cache.put_pool(brought("a"))
    resyncing.cache.put_pool(brought("b"))
    await resyncing.round(page(listed("a"), version=9, more="next"), second)
    await resyncing.round(refuse(500, "InternalError"))
    assert resyncing.known() == {("default", "a"), ("default", "b")}
    assert not resyncing.resync.synced
    assert len(resyncing.failures) == 2
    assert resyncing.resync.problem is resyncing.failures[-1]
    assert resyncing.pauses == [1, 2]
    await resyncing.round(page(listed("a"), version=9, more="next"), page(listed("b"), version=9))
    assert resyncing.known() == {("default", "a"), ("default", "b")}
    assert resyncing.resync.synced
    assert resyncing.resync.problem is None


async def test_pool_that_comes_while_it_is_listed_stays(resyncing: Resyncing) -> None:
    """A pool created after the list was requested is kept."""

    async def late(request: web.Request) -> web.StreamResponse:
        resyncing.cache.put_pool(brought("new", 8))
        return await page(version=7)(request)

    await resyncing.round(late)
    assert resyncing.known() == {("default", "new")}


async def test_pool_made_anew_stays(resyncing: Resyncing) -> None:
    """The deletion of an old pool does not remove a new one with the same name."""

    async def late(request: web.Request) -> web.StreamResponse:
        resyncing.cache.put_pool(brought("a", 8, uid="new"))
        return await page(listed("a", 8, uid="new"), version=9)(request)

    resyncing.cache.put_pool(brought("a", 3, uid="old"))
    await resyncing.round(late)
    found = resyncing.cache.pool(("default", "a"))
    assert found is not None
    assert found.uid == "new"


async def test_other_namespaces_are_left_alone(resyncing: Resyncing) -> None:
    """A list of one namespace removes no pools of another."""
    resyncing.cache.put_pool(brought("a", namespace="shop"))
    await resyncing.round(page(version=9))
    assert resyncing.known() == {("shop", "a")}
    assert resyncing.resync.synced


@pytest.mark.parametrize("news", [listed("a", 5), listed("b", 5)], ids=["changed", "made"])
async def test_watch_that_says_nothing_has_stalled(resyncing: Resyncing, news: dict[str, Any]) -> None:
    """If the watch delivers nothing that a list shows within the grace, it is restarted once per grace."""
    resyncing.cache.put_pool(brought("a", 3))
    old = [] if news["metadata"]["name"] == "a" else [listed("a", 3)]
    for _ in range(4):
        await resyncing.round(page(*old, news, version=9))
        resyncing.now += 5
    assert not resyncing.stalls, "it still had its grace"
    assert not resyncing.resync.synced
    await resyncing.round(page(*old, news, version=9))
    assert len(resyncing.stalls) == 1
    resyncing.now += 5
    await resyncing.round(page(*old, news, version=9))
    assert len(resyncing.stalls) == 1, "what was begun anew has its grace again"


async def test_watch_that_is_slow_has_not_stalled(resyncing: Resyncing) -> None:
    """A watch that delivers events, however slowly, is not restarted."""
    for version in range(10):
        read = [refuse(404, "NotFound")] if version > 1 else []
        await resyncing.round(page(listed("a", version + 1), listed("b"), version=9), *read)
        resyncing.cache.put_pool(brought("a", version + 1))
        resyncing.now += 10
        resyncing.resync.note_event()
    assert not resyncing.stalls


@pytest.mark.parametrize("held", [None, brought("b", 3)], ids=["made", "changed"])
async def test_pool_that_the_watch_left_out_is_read(resyncing: Resyncing, held: Pool | None) -> None:
    """A pool that the watch omitted is read after the grace."""
    if held:
        resyncing.cache.put_pool(held)
    both = page(listed("a", 1), listed("b", 7), version=9)
    resyncing.cache.put_pool(brought("a", 1))
    for seconds in (10, 10):
        await resyncing.round(both)
        resyncing.now += seconds
        resyncing.resync.note_event()
    await resyncing.round(both, answer(pool("b", resource_version=7)))
    found = resyncing.cache.pool(("default", "b"))
    assert found is not None
    assert found.resource_version == "7"
    await resyncing.round(both)
    assert resyncing.resync.synced
    assert not resyncing.stalls


async def test_pool_that_cannot_be_used_is_not_waited_for(
    resyncing: Resyncing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool that cannot be parsed is read, logged and counted once per version, and does not keep the rest from being
    current.
    """

    def broken(obj: dict[str, Any]) -> Never:
        raise ZeroDivisionError

    monkeypatch.setattr(resync_module, "parse_pool", broken)
    resyncing.cache.put_pool(brought("a", 1))
    both = page(listed("a", 1), listed("b", 7), version=9)
    for seconds in (10, 10):
        await resyncing.round(both)
        resyncing.now += seconds
        resyncing.resync.note_event()
    await resyncing.round(both, answer(pool("b", resource_version=7)))
    assert [type(error) for error in resyncing.failures] == [ZeroDivisionError]
    assert not resyncing.resync.synced
    await resyncing.round(both)
    assert resyncing.resync.synced
    changed = page(listed("a", 1), listed("b", 8), version=10)
    resyncing.now += 5
    await resyncing.round(changed)
    assert resyncing.resync.age() > 0, "its next version may be better"


async def test_few_are_read_at_once(resyncing: Resyncing) -> None:
    """Only a few pools are read per round, since a slow watch is not helped by a thousand requests."""
    names = [f"pool-{n}" for n in range(30)]
    for seconds in (10, 10):
        await resyncing.round(page(*map(listed, names), version=9))
        resyncing.now += seconds
        resyncing.resync.note_event()
    await resyncing.round(page(*map(listed, names), version=9), *[answer(pool(n)) for n in names[:10]])
    assert resyncing.known() == {("default", name) for name in names[:10]}


async def test_pool_that_changes_all_the_time_is_no_stall(resyncing: Resyncing) -> None:
    """A pool that changes constantly is no stall if the watch delivers the versions of earlier lists."""
    for version in range(1, 10):
        await resyncing.round(page(listed("a", version), version=9))
        resyncing.cache.put_pool(brought("a", version))
        resyncing.now += 10
    assert not resyncing.stalls


@pytest.mark.parametrize(
    ("earlier", "listed", "held", "expected"),
    [
        ({}, {"a": "3"}, {"a": "3"}, {}),
        ({}, {"a": "3"}, {"a": "4"}, {}),
        ({}, {"a": "10"}, {"a": "9"}, {"a": ("10", 7)}),
        ({}, {"a": "3"}, {}, {"a": ("3", 7)}),
        ({"a": ("3", 1)}, {"a": "5"}, {"a": "2"}, {"a": ("3", 1)}),
        ({"a": ("3", 1)}, {"a": "5"}, {"a": "3"}, {"a": ("5", 7)}),
        ({"a": ("3", 1)}, {"a": "5"}, {"a": "5"}, {}),
        ({"a": ("3", 1)}, {}, {}, {}),
    ],
)
def test_awaited(
    earlier: dict[str, tuple[str, float]],
    listed: dict[str, str],
    held: dict[str, str],
    expected: dict[str, tuple[str, float]],
) -> None:
    """A listed version is pending until the cache has it or a newer one, or the pool is no longer listed."""
    assert pending_versions(earlier, listed, held, 7) == expected

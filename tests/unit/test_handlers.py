"""The watch on pools through kopf, against a server on loopback behind the fault proxy: what ends kopf ends only it."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import kopf
import pytest
import pytest_asyncio

from backendpool import kopf_settings
from backendpool.cache import Cache
from backendpool.cluster.api import Api
from backendpool.cluster.reflector import ReflectorTiming
from backendpool.cluster.resources import POOLS
from backendpool.handlers import PoolWatch
from backendpool.names import API_VERSION, KIND
from backendpool.sweep import SweepTiming
from tests.e2e.faults import proxy
from tests.e2e.faults.rules import Action, Point, Rule
from tests.unit.api_server import KUBECONFIG, ApiServer
from tests.unit.pools import document
from tests.unit.timers import Timers

QUICK = ReflectorTiming(stall=30, settled=0.1, backoff=0.02, longest_backoff=0.1)
ONCE = SweepTiming(interval=60, retry=QUICK)
OFTEN = SweepTiming(interval=0.1, grace=0.3, retry=QUICK)
ONLY_POOLS = f"{POOLS.plural}$"


class World:
    """A watch on pools that runs, the server that it watches, and what lies between."""

    def __init__(self, server: ApiServer, api: Api, control: str, timing: SweepTiming, token_file: Path) -> None:
        self.failures: Counter[str] = Counter()
        self.cache = Cache(lambda _: None, Timers().later)
        self.watch = PoolWatch(self.cache, (), "test", api, self._failed, timing)
        self.requests = api.requests
        self.server = server
        self.token_file = token_file
        self._control = control

    def _failed(self, error: Exception) -> None:
        self.failures[type(error).__name__] += 1

    def put(self, name: str) -> None:
        self.server.put(pool(name))

    async def knows(self, *names: str) -> None:
        await until(lambda: {name for _, name in self.cache.pools()} == set(names))

    async def script(self, *rules: Rule) -> None:
        async with aiohttp.ClientSession() as session:
            (await session.post(f"{self._control}/script", json=[rule.as_json() for rule in rules])).close()

    async def used(self) -> list[int]:
        """How often each rule of the script was used."""
        async with aiohttp.ClientSession() as session, session.get(f"{self._control}/script") as answer:
            by_agent: list[dict[str, int]] = (await answer.json())["used"]
            return [sum(used.values()) for used in by_agent]

    async def cut(self) -> None:
        async with aiohttp.ClientSession() as session:
            (await session.post(f"{self._control}/cut")).close()


@pytest.fixture
def timing() -> SweepTiming:
    """Pools are listed once: the rest is the watch's to tell."""
    return ONCE


@pytest_asyncio.fixture
async def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, timing: SweepTiming) -> AsyncIterator[World]:
    """A watch that is settled, and knows the pool "one"."""
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    server, kubeconfig, token_file = ApiServer(), tmp_path / "by-proxy", tmp_path / "token"
    server.token = "first"
    token_file.write_text(server.token)
    server.put(pool("one"))
    async with server.serving(tmp_path), proxy.serving(server.url, host="127.0.0.1") as (port, control):
        config = KUBECONFIG.format(url=f"http://127.0.0.1:{port}")
        kubeconfig.write_text(config.replace("token: none", f'tokenFile: "{token_file}"'))
        async with await Api.connect(str(kubeconfig)) as api:
            world = World(server, api, f"http://127.0.0.1:{control}", timing, token_file)
            watch = asyncio.create_task(world.watch.run())
            await until(lambda: world.watch.views[None].synced)
            await asyncio.sleep(1.5 * QUICK.settled)
            yield world
            watch.cancel()
            await asyncio.wait([watch])
            assert watch.cancelled(), watch.exception()


def pool(name: str) -> dict[str, Any]:
    made = document(name)
    made["metadata"]["uid"] = name
    return {"apiVersion": API_VERSION, "kind": KIND, **made}


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_pools_are_listed_and_followed(world: World) -> None:
    """What is there, what comes, and what goes."""
    await world.knows("one")
    world.put("two")
    await world.knows("one", "two")
    world.server.remove(KIND, "default", "one")
    await world.knows("two")
    assert not world.failures
    assert world.requests["watch"] == 1, "kopf's requests count as well"


async def test_pools_are_listed_in_pages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """However many there are, no more of them than a page has come at once."""
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    monkeypatch.setattr(kopf_settings, "PAGE", 2)
    server, cache = ApiServer(), Cache(lambda _: None, Timers().later)
    for name in ("one", "two", "three"):
        server.put(pool(name))
    async with server.connected(tmp_path) as api:
        watch = asyncio.create_task(PoolWatch(cache, (), "test", api, lambda _: None, ONCE).run())
        await until(lambda: len(cache.pools()) == 3)
        watch.cancel()
        await asyncio.wait([watch])
    assert server.pages == [(POOLS, 2), (POOLS, 1)]


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        (Rule(Action.REFUSE, path=ONLY_POOLS, status=401, count=2), "Unauthorized"),
        (Rule(Action.REFUSE, path=ONLY_POOLS, status=403, count=2), "Forbidden"),
        (Rule(Action.REFUSE, path=ONLY_POOLS, status=404, count=2), "NotFound"),
        (Rule(Action.REFUSE, path=ONLY_POOLS, status=410, count=2), "Gone"),
        (Rule(Action.REFUSE, path=ONLY_POOLS, status=429, retry_after=0, count=2), "TooManyRequests"),
        (Rule(Action.REFUSE, path=ONLY_POOLS, status=500, count=2), "ApiError"),
    ],
    ids=lambda value: f"{value.action}-{value.status}" if isinstance(value, Rule) else value,
)
async def test_refusals_are_survived_and_counted(world: World, rule: Rule, error: str) -> None:
    """A watch that breaks and is refused twice is there again, knows what came meanwhile, and told of each refusal."""
    await world.script(rule)
    await world.cut()
    world.put("two")
    await world.knows("one", "two")
    assert world.failures == {error: 2}


async def test_connections_that_are_cut_are_survived(world: World) -> None:
    """So is an API server that nothing is heard of."""
    await world.script(Rule(Action.CUT, path=ONLY_POOLS))
    await world.cut()
    world.put("two")
    await until(lambda: world.failures["Unreachable"] >= 2)
    await world.script()
    await world.knows("one", "two")
    assert world.failures.keys() == {"Unreachable"}


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        (Rule(Action.REFUSE, Point.EVENT, status=410, count=1), None),
        (Rule(Action.REFUSE, Point.EVENT, status=500, count=1), "WatchingError"),
        (Rule(Action.TRUNCATE, Point.EVENT, count=1), "JSONDecodeError"),
        (Rule(Action.CUT, Point.EVENT, count=1), None),
    ],
    ids=lambda value: f"{value.action}-{value.status}" if isinstance(value, Rule) else value,
)
async def test_broken_events_are_survived(world: World, rule: Rule, error: str | None) -> None:
    """Whatever stands in an event's place, the pool that it was about is known in the end, and the next one too.

    What ends kopf counts as a failure; that a watch has to be begun anew does not.
    """
    await world.script(rule)
    world.put("two")
    await world.knows("one", "two")
    world.put("three")
    await world.knows("one", "two", "three")
    assert world.failures == ({error: 1} if error else {})


async def test_pool_that_is_none_is_passed_over(world: World) -> None:
    """Something that the API server cannot have meant ends nothing, and the pool after it is known."""
    odd = pool("odd")
    world.server.put({**odd, "metadata": {**odd["metadata"], "labels": ["odd"]}})
    world.put("two")
    await world.knows("one", "two")
    assert world.failures == {"Malformed": 1}


async def test_outage_is_told_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """One line when it begins and one when it is over, and none of kopf's own, however often kopf tries."""
    caplog.set_level("INFO")
    await world.script(Rule(Action.REFUSE, path=ONLY_POOLS, status=503))
    await world.cut()
    await until(lambda: world.failures["ApiError"] >= 5)
    await world.script()
    over = "watching grpcbackendpools again"
    await until(lambda: over in caplog.text)
    told = [record for record in caplog.records if record.name.startswith(("backendpool", "kopf"))]
    begun, ended = (record.getMessage() for record in told)
    assert begun.startswith("grpcbackendpools cannot be watched, trying again: 503 ServiceUnavailable: ")
    assert ended == over


@pytest.mark.parametrize("timing", [SweepTiming(retry=ReflectorTiming(settled=0.1, jitter=max, backoff=0.1))])
@pytest.mark.parametrize(
    ("rule", "error"),
    [
        (Rule(Action.CLOSE, path=ONLY_POOLS, watch=True), "Unreachable"),
        (Rule(Action.REFUSE, path=ONLY_POOLS, status=401), "Unauthorized"),
        (Rule(Action.REFUSE, path=ONLY_POOLS, status=503), "ApiError"),
    ],
    ids=["closed at once", "401", "503"],
)
async def test_what_fails_on_is_no_flood(world: World, rule: Rule, error: str) -> None:
    """However it fails, kopf pauses, each time longer: by itself, it does not always."""
    await world.script(rule)
    await world.cut()
    await asyncio.sleep(0.5)
    (used,) = await world.used()
    assert used <= 4, "after pauses of 0.1, 0.2 and 0.4 seconds"
    await until(lambda: world.failures[error])
    await world.script()
    world.put("two")
    await world.knows("one", "two")


@pytest.mark.parametrize("timing", [SweepTiming(retry=ReflectorTiming(settled=0.3, jitter=max, backoff=0.1))])
async def test_watches_that_expire_at_once_are_no_flood(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Where kopf lists anew for each watch it pauses as well; it is counted, and told once."""
    world.server.selected.clear()
    world.server.expired = {POOLS}
    await world.cut()
    await asyncio.sleep(0.9)
    assert len(world.server.selected) <= 9, "a list and a watch after pauses of 0.1, 0.2 and 0.4 seconds"
    assert world.failures["Unreachable"] >= 2
    assert caplog.text.count("cannot be watched") == 1
    world.server.expired = set()
    world.put("two")
    await world.knows("one", "two")


@pytest.mark.parametrize("timing", [OFTEN])
async def test_deletion_that_kopf_loses_is_found(world: World) -> None:
    """kopf lists anew after a gap, and does not tell what is no longer there."""
    await world.script(Rule(Action.REFUSE, path=ONLY_POOLS, watch=True, status=410, count=1))
    await world.cut()
    world.server.remove(KIND, "default", "one")
    world.put("two")
    await world.knows("two")
    assert (await world.used()) == [1]


@pytest.mark.parametrize("timing", [OFTEN])
async def test_watch_that_hangs_is_begun_anew(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A watch that stays open and brings nothing is found out by what is listed."""
    await world.script(Rule(Action.STALL, Point.EVENT, path=ONLY_POOLS, count=1))
    world.put("two")
    await world.knows("one", "two")
    assert world.failures == {"Stalled": 1}
    assert "trying again: the watch is silent, though a list shows 1 made or changed" in caplog.text
    world.put("three")
    await world.knows("one", "two", "three")
    await until(lambda: world.watch.views[None].age() < 5)


@pytest.mark.parametrize("timing", [OFTEN])
async def test_absurd_retry_after_blinds_no_watch(world: World) -> None:
    """kopf waits for as long as it is asked to, be it a year: then it is begun anew as soon as there is news."""
    await world.script(Rule(Action.REFUSE, path=ONLY_POOLS, watch=True, status=429, retry_after=31536000, count=1))
    await world.cut()
    await until(lambda: world.failures["TooManyRequests"])
    world.put("two")
    await world.knows("one", "two")
    assert world.failures == {"TooManyRequests": 1, "Stalled": 1}


@pytest.mark.parametrize("timing", [SweepTiming(retry=ReflectorTiming(stall=0.3, settled=0.1))])
async def test_silent_watch_is_given_up(world: World) -> None:
    """Without bookmarks, of which there is one a minute, a watch is as good as dead."""
    await world.script(Rule(Action.STALL, Point.EVENT, path=ONLY_POOLS, count=1))
    world.put("two")
    await world.knows("one", "two")
    assert not world.failures["Stalled"]


async def test_our_own_tasks_outlive_kopf(world: World) -> None:
    """kopf cancels all tasks of its event loop when it ends; ours are in another one."""
    ours = asyncio.create_task(asyncio.sleep(60))
    await world.script(Rule(Action.REFUSE, path=ONLY_POOLS, status=401, count=1))
    await world.cut()
    world.put("two")
    await world.knows("one", "two")
    assert world.failures == {"Unauthorized": 1}
    assert not ours.done()
    ours.cancel()


async def test_kopf_that_cancels_itself_is_started_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cancellation is not taken for one of ours, which would leave the pools unwatched without a word."""
    operator, cancelled = kopf.operator, asyncio.Event()

    async def broken(**kwargs: Any) -> None:
        if cancelled.is_set():
            return await operator(**kwargs)
        cancelled.set()
        raise asyncio.CancelledError

    monkeypatch.setattr(kopf, "operator", broken)
    await world.script(Rule(Action.REFUSE, path=ONLY_POOLS, status=401, count=1))
    await world.cut()
    world.put("two")
    await world.knows("one", "two")
    assert world.failures == {"Unauthorized": 1, "RuntimeError": 1}


async def test_crd_that_comes_later_is_found(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A CRD that is deleted and applied again, as its pools are, is followed again."""
    world.server.unserved = {POOLS}
    await world.cut()
    await until(lambda: "is not installed" in caplog.text)
    world.server.unserved = set()
    world.put("two")
    await world.knows("one", "two")


async def test_token_that_rotates_is_followed(world: World) -> None:
    """kopf asks with the token that is in the file now, as our own requests do, and not with the one it began with."""
    world.token_file.write_text("second")
    world.server.token = "second"
    await world.cut()
    world.put("two")
    await world.knows("one", "two")
    assert world.failures == {"Unauthorized": 1}

"""The watch on pools through kopf, against a server on loopback behind the fault proxy: what ends kopf ends only it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from backendpool.cache import Cache, PoolKey
from backendpool.cluster.api import Api
from backendpool.handlers import PoolWatch
from tests.e2e.faults import proxy
from tests.e2e.faults.rules import Action, Point, Rule
from tests.unit.pools import document
from tests.unit.timers import Timers

POOLS = "/apis/backendpool.io/v1alpha1"


class Pools:
    """The API server, as far as kopf asks for it: discovery, and one kind's list and watch."""

    def __init__(self) -> None:
        self.version = 100
        self.installed = True
        self.objects: dict[str, dict[str, Any]] = {}
        self._watches: set[asyncio.Queue[bytes]] = set()

    def put(self, name: str) -> None:
        self.version += 1
        obj = document(name)
        obj["metadata"] |= {"uid": name, "resourceVersion": str(self.version)}
        self.objects[name] = obj
        for watch in self._watches:
            watch.put_nowait(added(obj))

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/api", self._versions)
        app.router.add_get("/apis", self._groups)
        for path in ("/api/v1", "/apis/apiextensions.k8s.io/v1", POOLS):
            app.router.add_get(path, self._discover)
        app.router.add_get(f"{POOLS}/grpcbackendpools", self._read)
        return app

    async def _versions(self, _: web.Request) -> web.Response:
        return web.json_response({"versions": ["v1"]})

    async def _groups(self, _: web.Request) -> web.Response:
        groups = {"apiextensions.k8s.io": "v1"} | ({"backendpool.io": "v1alpha1"} if self.installed else {})
        return web.json_response({"groups": [group(name, version) for name, version in groups.items()]})

    async def _discover(self, request: web.Request) -> web.Response:
        # kopf waits until it has seen the first two, though it is told not to watch them.
        plural, kind = {
            "/api/v1": ("namespaces", "Namespace"),
            "/apis/apiextensions.k8s.io/v1": ("customresourcedefinitions", "CustomResourceDefinition"),
            POOLS: ("grpcbackendpools", "GrpcBackendPool"),
        }[request.path]
        found = {"name": plural, "singularName": "", "kind": kind, "namespaced": True, "verbs": ["list", "watch"]}
        return web.json_response({"kind": "APIResourceList", "resources": [found]})

    async def _read(self, request: web.Request) -> web.StreamResponse:
        if not self.installed:
            raise web.HTTPNotFound
        if "watch" not in request.query:
            meta = {"resourceVersion": str(self.version)}
            return web.json_response({"metadata": meta, "items": list(self.objects.values())})
        response = web.StreamResponse()
        await response.prepare(request)
        events: asyncio.Queue[bytes] = asyncio.Queue()
        since = int(request.query["resourceVersion"])
        for obj in self.objects.values():
            if int(obj["metadata"]["resourceVersion"]) > since:
                events.put_nowait(added(obj))
        self._watches.add(events)
        try:
            while True:
                await response.write(await events.get())
        finally:
            self._watches.discard(events)


class World:
    """A pool watch that runs, the server that it watches, and what lies between."""

    def __init__(self, server: Pools, cache: Cache, control: str) -> None:
        self.server = server
        self.failures: list[Exception] = []
        self._cache = cache
        self._control = control

    async def knows(self, *names: str) -> None:
        await until(lambda: {name for _, name in self._cache.pools()} == set(names))

    async def script(self, *rules: Rule) -> None:
        async with aiohttp.ClientSession() as session:
            (await session.post(f"{self._control}/script", json=[rule.as_json() for rule in rules])).close()

    async def cut(self) -> None:
        async with aiohttp.ClientSession() as session:
            (await session.post(f"{self._control}/cut")).close()


@pytest_asyncio.fixture
async def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[World]:
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    changed: list[PoolKey] = []
    server, cache = Pools(), Cache(changed.append, Timers().later)
    async with AsyncExitStack() as stack:
        runner = web.AppRunner(server.application(), handler_cancellation=True, shutdown_timeout=0.01)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = "http://{}:{}".format(*runner.addresses[0][:2])
        port, control = await stack.enter_async_context(proxy.serving(url, host="127.0.0.1"))

        api = await stack.enter_async_context(await Api.connect(kubeconfig(tmp_path, port)))
        world = World(server, cache, f"http://127.0.0.1:{control}")
        watch = asyncio.create_task(PoolWatch(cache, (), "test", api, world.failures.append).run())
        yield world
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch


def kubeconfig(folder: Path, port: int) -> str:
    path = folder / "kubeconfig"
    document = {
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "test", "user": {"token": "secret"}}],
    }
    path.write_text(json.dumps(document))
    return str(path)


def added(obj: dict[str, Any]) -> bytes:
    return json.dumps({"type": "ADDED", "object": obj}).encode() + b"\n"


def group(name: str, version: str) -> dict[str, Any]:
    served = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [served], "preferredVersion": served}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_pools_are_listed_and_followed(world: World) -> None:
    """What is there, and what comes."""
    world.server.put("one")
    await world.knows("one")
    world.server.put("two")
    await world.knows("one", "two")
    assert not world.failures


@pytest.mark.parametrize(
    "rule",
    [
        Rule(Action.REFUSE, status=401, count=2),
        Rule(Action.REFUSE, status=403, count=2),
        Rule(Action.REFUSE, status=404, count=2),
        Rule(Action.REFUSE, status=410, count=2),
        Rule(Action.REFUSE, status=429, retry_after=1, count=2),
        Rule(Action.REFUSE, status=500, count=2),
        Rule(Action.CUT, count=2),
    ],
    ids=lambda rule: f"{rule.action}-{rule.status}",
)
async def test_refusals_are_survived(world: World, rule: Rule) -> None:
    """A watch that breaks and is refused twice is there again, and knows what came meanwhile."""
    world.server.put("one")
    await world.knows("one")
    await world.script(rule)
    await world.cut()
    world.server.put("two")
    await world.knows("one", "two")


@pytest.mark.parametrize(
    "rule",
    [
        Rule(Action.REFUSE, Point.EVENT, status=410, count=1),
        Rule(Action.REFUSE, Point.EVENT, status=500, count=1),
        Rule(Action.TRUNCATE, Point.EVENT, count=1),
        Rule(Action.CUT, Point.EVENT, count=1),
    ],
    ids=lambda rule: f"{rule.action}-{rule.status}",
)
async def test_broken_events_are_survived(world: World, rule: Rule) -> None:
    """Whatever stands in an event's place, the pool that it was about is known in the end, and the next one too."""
    world.server.put("one")
    await world.knows("one")
    await world.script(rule)
    world.server.put("two")
    await world.knows("one", "two")
    world.server.put("three")
    await world.knows("one", "two", "three")


async def test_what_ends_kopf_is_told(world: World) -> None:
    """So that a metric can count it."""
    world.server.put("one")
    await world.knows("one")
    await world.script(Rule(Action.REFUSE, status=401, count=1))
    await world.cut()
    await until(lambda: bool(world.failures))


async def test_our_own_tasks_outlive_kopf(world: World) -> None:
    """kopf cancels all tasks of its event loop when it ends; ours are in another one."""
    world.server.put("one")
    await world.knows("one")
    ours = asyncio.create_task(asyncio.sleep(60))
    await world.script(Rule(Action.REFUSE, status=401, count=1))
    await world.cut()
    await until(lambda: bool(world.failures))
    assert not ours.done()
    ours.cancel()


async def test_crd_that_comes_later_is_found(world: World) -> None:
    """A CRD that is deleted and applied again, as its pools are, is followed again."""
    world.server.put("one")
    await world.knows("one")
    world.server.installed = False
    await world.cut()
    await until(lambda: len(world.failures) >= 2)
    assert "is not installed" in str(world.failures[-1])
    world.server.installed = True
    world.server.put("two")
    await world.knows("one", "two")

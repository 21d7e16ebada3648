"""Following the status of a pool, over a real connection to a scripted API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from backendpool.api.endpoints import Endpoint, EndpointSet, EndpointState
from backendpool.api.load_balancing import EmptyPolicy, LoadBalancing, Policy
from backendpool.api.pool import PoolView
from backendpool.client._resolvers.pool import PoolResolver
from backendpool.errors import Forbidden
from backendpool.k8s.client import Api
from backendpool.k8s.reflector import ReflectorTiming
from tests.fakes.logs import logged
from tests.fakes.objects import pool
from tests.fakes.until import until
from tests.unit.k8s.scripted import Answer, ScriptedServer, Watch, answer, line, page, refuse

READY = {"address": "192.0.2.1", "port": 50051, "podName": "a", "podUID": "uid-a", "zone": "z", "state": "Ready"}
DRAINING = {"address": "192.0.2.2", "port": 50051, "state": "Draining"}
ENDPOINTS = (
    Endpoint("192.0.2.1", 50051, "uid-a", "a", zone="z"),
    Endpoint("192.0.2.2", 50051, state=EndpointState.DRAINING),
)


def pool_with(*endpoints: dict[str, Any], revision: str = "r1", version: int = 1, **spec: Any) -> dict[str, Any]:
    """Return a pool with these endpoints in its status; without a revision, its status is not written yet."""
    status = {"revision": revision, "endpoints": list(endpoints), "truncated": False}
    return pool("who", namespace="ns", resource_version=version, status=status if revision else {}, **spec)


RANDOM_KEPT = LoadBalancing(Policy.RANDOM, EmptyPolicy.KEEP_LAST)


class Told:
    """The pool views that a resolver reports, in order."""

    def __init__(self, source: PoolResolver) -> None:
        self.source = source
        self.views: list[PoolView | None] = []

    async def count(self, count: int) -> list[PoolView | None]:
        await until(lambda: len(self.views) >= count)
        return self.views


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer()
    async with server.serving():
        yield server


@asynccontextmanager
async def following(server: ScriptedServer, folder: Path) -> AsyncIterator[Told]:
    """A source at work, whose pauses are short."""
    kubeconfig = server.kubeconfig(folder, {"token": "secret"})
    async with await Api.connect(kubeconfig, timeout=2) as api:
        views: list[PoolView | None] = []
        told = Told(PoolResolver(api, "ns", "who", views.append, timing=ReflectorTiming(backoff=0.01)))
        told.views = views
        task = asyncio.create_task(told.source.run())
        try:
            yield told
            assert not task.done(), "it never returns"
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_tells_the_pool(server: ScriptedServer, tmp_path: Path) -> None:
    """Endpoints, policy and emptyPolicy are read from status and spec."""
    server.script(page(pool_with(READY, DRAINING, policy="Random", emptyPolicy="KeepLast"), version=1))
    async with following(server, tmp_path) as told:
        assert await told.count(1) == [PoolView(EndpointSet(ENDPOINTS, "r1"), RANDOM_KEPT)]
        assert told.source.problem is None
        assert told.source.age() < 5


async def test_asks_for_one_pool_only(server: ScriptedServer, tmp_path: Path) -> None:
    """List and watch need only the permissions of a reader of this one pool."""
    server.script(page(pool_with(READY), version=1), Watch())
    async with following(server, tmp_path):
        await until(lambda: bool(server.watches))
    assert {seen.path for seen in server.requests} == {"/apis/backendpool.io/v1alpha1/namespaces/ns/grpcbackendpools"}
    assert {seen.query["fieldSelector"] for seen in server.requests} == {"metadata.name=who"}


async def test_tells_each_change_once(server: ScriptedServer, tmp_path: Path) -> None:
    """A new list of endpoints is reported; other changes of the pool are not."""
    unrelated = pool_with(READY, version=2, readers=[{"serviceAccount": "other"}])
    changed = pool_with(DRAINING, revision="r2", version=3)
    server.script(page(pool_with(READY), version=1), Watch(line("MODIFIED", unrelated), line("MODIFIED", changed)))
    async with following(server, tmp_path) as told:
        assert await told.count(2) == [
            PoolView(EndpointSet(ENDPOINTS[:1], "r1")),
            PoolView(EndpointSet(ENDPOINTS[1:], "r2")),
        ]


async def test_tells_that_there_is_no_pool(server: ScriptedServer, tmp_path: Path) -> None:
    """A missing pool is reported, and so is its later creation."""
    watch = Watch()
    server.script(page(version=1), watch)
    async with following(server, tmp_path) as told:
        assert await told.count(1) == [None]
        watch.send(line("ADDED", pool_with(READY, version=2)))
        assert await told.count(2) == [None, PoolView(EndpointSet(ENDPOINTS[:1], "r1"))]


async def test_tells_that_the_pool_is_gone(server: ScriptedServer, tmp_path: Path) -> None:
    """A deleted pool is reported as None."""
    server.script(page(pool_with(READY), version=1), Watch(line("DELETED", pool_with(READY, version=2))))
    async with following(server, tmp_path) as told:
        assert (await told.count(2))[1] is None


async def test_tells_nothing_before_the_status_is_written(server: ScriptedServer, tmp_path: Path) -> None:
    """A pool without a status has unknown endpoints, not none."""
    watch = Watch()
    server.script(page(pool_with(revision=""), version=1), watch)
    async with following(server, tmp_path) as told:
        await watch.opened.wait()
        assert told.views == []
        watch.send(line("MODIFIED", pool_with(revision="r0", version=2)))
        assert await told.count(1) == [PoolView(EndpointSet((), "r0"))]


async def test_follows_a_pool_whose_spec_it_cannot_read(
    server: ScriptedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An unknown policy of a newer CRD is replaced by the default, with a warning."""
    server.script(page(pool_with(READY, policy="Fastest"), version=1))
    async with following(server, tmp_path) as told:
        assert await told.count(1) == [PoolView(EndpointSet(ENDPOINTS[:1], "r1"))]
    (record,) = logged(caplog, "Spec cannot be parsed, using the default policies", pool="ns/who")
    assert getattr(record, "error", "").startswith("spec.policy: this version knows")


@pytest.mark.parametrize("refusal", [refuse(403, "Forbidden"), refuse(404, "NotFound")])
async def test_refusal_at_the_start_means_no_pool(server: ScriptedServer, tmp_path: Path, refusal: Answer) -> None:
    """A client without permission reports no pool, and follows it once it has permission."""
    server.script(*[refusal] * 3)
    async with following(server, tmp_path) as told:
        assert await told.count(1) == [None]
        assert told.source.problem is not None
        server.script(page(pool_with(READY), version=1))
        assert await told.count(2) == [None, PoolView(EndpointSet(ENDPOINTS[:1], "r1"))]
        await until(lambda: told.source.problem is None)


async def test_refusal_later_changes_nothing(server: ScriptedServer, tmp_path: Path) -> None:
    """A client that loses its permission keeps its last endpoints."""
    server.script(page(pool_with(READY), version=1), Watch().end(), *[refuse(403, "Forbidden")] * 1000)
    async with following(server, tmp_path) as told:
        await until(lambda: isinstance(told.source.problem, Forbidden))
        assert told.views == [PoolView(EndpointSet(ENDPOINTS[:1], "r1"))]


async def test_nothing_is_told_of_an_api_server_that_is_away(server: ScriptedServer, tmp_path: Path) -> None:
    """An unreachable API server leaves the pool unknown."""
    server.script(*[answer({}, 503)] * 1000)
    async with following(server, tmp_path) as told:
        await until(lambda: told.source.problem is not None)
        assert told.views == []


async def test_outage_changes_nothing(server: ScriptedServer, tmp_path: Path) -> None:
    """During an outage the last endpoints are kept, and a relist without changes reports nothing."""
    server.script(
        page(pool_with(READY), version=1),
        Watch().cut(),
        *[answer({}, 503)] * 2,
        refuse(410, "Expired"),
        page(pool_with(READY, version=9), version=9),
    )
    async with following(server, tmp_path) as told:
        await until(lambda: bool(server.watches) and server.watches[-1].query["resourceVersion"] == "9")
        assert len(told.views) == 1

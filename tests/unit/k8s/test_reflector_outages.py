"""The reflector with an API server that rejects, sheds load or answers partially."""

import asyncio
import logging
from typing import Any

import pytest

from backendpool.errors import ClusterError, Forbidden, NotFound
from backendpool.k8s.client import Api
from tests.fakes.until import until
from tests.unit.k8s.reflecting import A, B, C, Change, reflecting
from tests.unit.k8s.scripted import ScriptedServer, Watch, added, page, raw, refuse, thing


async def test_shed_load_waits_as_asked(server: ScriptedServer, api: Api) -> None:
    """After 429, the reflector also waits for Retry-After, and resumes without a list."""
    server.script(page(version=1), refuse(429, "TooManyRequests", {"Retry-After": "7"}), Watch(added("a", 1, 2)))
    async with reflecting(api) as run:
        await run.told(1)
    assert run.pauses == [7.5]
    assert len(server.lists) == 1


async def test_forbidden_in_mid_life_is_survived(
    server: ScriptedServer, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """Losing permission keeps the store; the problem is shown, logged once, and cleared afterwards."""
    caplog.set_level(logging.INFO, "backendpool")
    server.script(page(thing("a", 1), version=1), watch := Watch())
    async with reflecting(api, healthy_after=0.01) as run:
        await watch.opened.wait()
        server.script(*[refuse(403, "Forbidden")] * 20, page(thing("a", 1), thing("b", 2), version=9))
        shown: list[ClusterError | None] = []
        watch.cut()
        while len(run.changes) < 2:
            shown.append(run.reflector.problem)
            assert run.contents in ({"a": 1}, {"a": 1, "b": 2})
            await asyncio.sleep(0.001)
        assert any(isinstance(problem, Forbidden) for problem in shown)
        await until(lambda: run.reflector.problem is None)
        await until(lambda: "Watch recovered resource=endpointslices" in caplog.text)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING", "INFO"], "cut, forbidden, again"
    assert "Forbidden it is" in caplog.text
    assert run.changes == [Change(A, None, 1), Change(B, None, 2)]


async def test_kind_that_is_not_installed_yet(
    server: ScriptedServer, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """Without its CRD, a reflector waits unsynced, logs once, and starts when the CRD exists."""
    served = asyncio.Event()

    async def missing_or_not(request: Any) -> Any:
        if served.is_set():
            return await page(thing("a", 1), version=1)(request)
        server.script(missing_or_not)
        return await refuse(404, "NotFound")(request)

    server.script(missing_or_not)
    async with reflecting(api) as run:
        await until(lambda: len(server.lists) > 5)
        assert not run.reflector.synced
        assert isinstance(run.reflector.problem, NotFound)
        served.set()
        await run.reflector.wait_synced()
        await until(lambda: run.reflector.problem is None)
    assert len(caplog.records) == 1


async def test_deletion_that_no_watch_saw(server: ScriptedServer, api: Api) -> None:
    """The next list reports what was deleted, added and changed while there was no watch."""
    server.script(page(thing("a", 1), thing("b", 2), version=1), refuse(500, "InternalError"))
    server.script(page(thing("b", 5), thing("c", 3), version=9))
    async with reflecting(api) as run:
        changes = await run.told(5)
        assert sorted(changes[2:], key=lambda change: change.key) == [
            Change(A, 1, None),
            Change(B, 2, 5),
            Change(C, None, 3),
        ]
        assert run.contents == {"b": 5, "c": 3}


async def test_half_a_list_tells_nothing(server: ScriptedServer, api: Api) -> None:
    """An incomplete list changes nothing in the store."""
    failing = [
        page(thing("b", 2), version=5, more="two"),
        refuse(503, "ServiceUnavailable"),
        page(thing("b", 2), version=5, more="two"),
        raw(b'{"items": ['),
        page(thing("b", 2), version=5, more="two"),
        raw(b'{"kind": "Maintenance"}'),
    ]
    server.script(*failing, page(thing("a", 1), version=1), refuse(410, "Gone"), *failing)
    async with reflecting(api) as run:
        await until(lambda: len(server.lists) == 14)
        assert run.changes == [Change(A, None, 1)]
        assert run.contents == {"a": 1}


async def test_expired_page_starts_the_list_over(server: ScriptedServer, api: Api) -> None:
    """410 between pages restarts the list, since later pages would be of another version."""
    server.script(
        page(thing("a", 1), version=1, more="two"),
        refuse(410, "Expired"),
        page(thing("b", 2), version=9, more="two"),
        page(thing("c", 3), version=9),
    )
    async with reflecting(api) as run:
        assert await run.told(2) == [Change(B, None, 2), Change(C, None, 3)]
    assert [seen.query.get("continue") for seen in server.lists] == [None, "two", None, "two"]

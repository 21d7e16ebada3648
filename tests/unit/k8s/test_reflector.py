"""The reflector without faults: lists, events and metrics."""

import asyncio
import math

import pytest

from backendpool.errors import TooManyRequests, Unreachable
from backendpool.k8s.client import Api
from backendpool.k8s.reflector import Reflector
from backendpool.k8s.resources import ENDPOINT_SLICES
from tests.fakes.until import until
from tests.unit.k8s.reflecting import A, B, C, Change, noted, parse, reflecting
from tests.unit.k8s.scripted import ScriptedServer, Watch, added, bookmark, deleted, modified, page, refuse, thing


async def test_lists_page_by_page(server: ScriptedServer, api: Api) -> None:
    """All pages form one list, and the watch begins at its version."""
    server.script(
        page(thing("a", 1), version=7, more="two"),
        page(thing("b", 2), version=7, more="three"),
        page(thing("c", 3), version=7),
    )
    async with reflecting(api, label_selector="x=y") as run:
        await run.reflector.wait_synced()
        assert run.contents == {"a": 1, "b": 2, "c": 3}
        assert run.changes == [Change(A, None, 1), Change(B, None, 2), Change(C, None, 3)]
        await until(lambda: bool(server.watches))
    assert [seen.query.get("continue") for seen in server.lists] == [None, "two", "three"]
    query = server.watches[0].query
    assert 240 <= int(query["timeoutSeconds"]) <= 360
    assert {name: query[name] for name in ("resourceVersion", "labelSelector", "allowWatchBookmarks")} == {
        "resourceVersion": "7",
        "labelSelector": "x=y",
        "allowWatchBookmarks": "true",
    }


async def test_follows_events(server: ScriptedServer, api: Api) -> None:
    """Each event that changes an object is reported, others are not."""
    server.script(
        page(thing("a", 1), version=1),
        Watch(added("b", 2, 2), modified("a", 1, 3), modified("a", 9, 4), bookmark(5), deleted("b", 2, 6)),
    )
    async with reflecting(api) as run:
        assert await run.told(4) == [
            Change(A, None, 1),
            Change(B, None, 2),
            Change(A, 1, 9),
            Change(B, 2, None),
        ]
        assert run.contents == {"a": 9}


async def test_object_may_be_huge(server: ScriptedServer, api: Api) -> None:
    """An event of three megabytes is read whole."""
    huge = added("b", 2, 2).replace(b'"value"', b'"pad": "' + b"x" * 3 * 2**20 + b'", "value"')
    server.script(page(version=1), Watch(huge))
    async with reflecting(api) as run:
        assert await run.told(1) == [Change(B, None, 2)]


async def test_list_without_a_difference_tells_nothing(server: ScriptedServer, api: Api) -> None:
    """A list without differences reports no change."""
    server.script(page(thing("a", 1), thing("b", 2), version=1), refuse(410, "Gone"))
    server.script(page(thing("b", 2, version=8), thing("a", 1, version=9), version=9))
    async with reflecting(api) as run:
        await until(lambda: len(server.watches) == 2)
        assert len(run.changes) == 2


async def test_listener_sees_the_whole_list(server: ScriptedServer, api: Api) -> None:
    """When the changes of a list are reported, the whole list is already in the store."""
    server.script(page(thing("a", 1), thing("b", 2), version=1))
    seen: list[tuple[int, bool]] = []
    async with reflecting(
        api, on_change=lambda change: seen.append((len(run.reflector.items), run.reflector.synced))
    ) as run:
        await run.reflector.wait_synced()
    assert seen == [(2, False), (2, False)]


async def test_unparsable_object_does_not_stop_the_others(
    server: ScriptedServer, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """An object that cannot be parsed is skipped and logged once."""
    server.script(
        page(thing("a", "bad"), thing("b", 2), version=1),
        Watch(modified("a", "bad", 2), modified("b", "bad", 3), added("c", 3, 4), modified("a", 1, 5)),
    )
    async with reflecting(api) as run:
        assert await run.told(3) == [Change(B, None, 2), Change(C, None, 3), Change(A, None, 1)]
        assert run.contents == {"a": 1, "b": 2, "c": 3}
        assert len(server.watches) == 1
    assert len(caplog.records) == 2


async def test_bug_of_the_listener_concerns_one_object(server: ScriptedServer, api: Api) -> None:
    """If ``on_change`` raises, the object keeps its previous state and the watch continues."""
    server.script(page(thing("a", 1), version=1), watch := Watch())
    used: list[str] = []

    def use(change: Change) -> None:
        if change.key[1] == "a":
            raise ZeroDivisionError
        used.append(change.key[1])

    reflector = Reflector(api, ENDPOINT_SLICES, parse, noted(use))
    running = asyncio.create_task(reflector.run())
    await watch.opened.wait()
    watch.send(added("b", 2, 2))
    await until(lambda: bool(used))
    assert [name for _, name in reflector.items] == ["b"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_cancellation_closes_the_watch(server: ScriptedServer, api: Api) -> None:
    """Cancelling a reflector leaves no request and no task, and keeps the store."""
    server.script(page(thing("a", 1), version=1), watch := Watch())
    tasks = asyncio.all_tasks()
    async with reflecting(api) as run:
        await watch.opened.wait()
    assert run.task.cancelled()
    await asyncio.wait_for(watch.left.wait(), 5)
    await until(lambda: asyncio.all_tasks() == tasks)
    assert run.contents == {"a": 1}


async def test_age_of_the_view(server: ScriptedServer, api: Api) -> None:
    """The age is infinite before the first list, then the time since the last list or event."""
    server.script(refuse(403, "Forbidden"), hold := Watch(b" "))
    async with reflecting(api) as run:
        await hold.opened.wait()
        assert run.reflector.age() == math.inf
        assert not run.reflector.synced
        server.script(page(version=1), watch := Watch())
        hold.cut()
        await watch.opened.wait()
        await until(lambda: run.reflector.age() < math.inf)
        run.now += 1
        assert run.reflector.age() == 1
        watch.send(bookmark(2))
        await run.noted("BOOKMARK")
        assert run.reflector.age() == 0


async def test_tells_its_figures(server: ScriptedServer, api: Api) -> None:
    """Lists, events and failures are counted by kind."""
    server.script(page(thing("a", 1), version=1), Watch(added("b", 2, 2), bookmark(3)).cut(), refuse(429, "Busy"))
    async with reflecting(api) as run:
        await until(lambda: len(server.watches) == 3)
    assert run.figures == [
        (ENDPOINT_SLICES, figure) for figure in (1, "ADDED", "BOOKMARK", Unreachable, TooManyRequests)
    ]

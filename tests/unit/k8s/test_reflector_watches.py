"""How watches end, and how the reflector continues."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from backendpool.errors import Stalled, Unreachable
from backendpool.k8s.client import Api
from backendpool.k8s.reflector import ReflectorTiming
from backendpool.k8s.resources import ENDPOINT_SLICES
from tests.fakes.until import until
from tests.unit.k8s.reflecting import A, B, C, Change, reflecting
from tests.unit.k8s.scripted import ScriptedServer, Watch, added, bookmark, drop, error, line, page, refuse, thing


async def test_echo_proves_nothing(server: ScriptedServer, api: Api) -> None:
    """A watch that repeats known events, as through a caching proxy, does not reset the age."""
    server.script(page(thing("a", 5, 5), version=5), watch := Watch())
    async with reflecting(api) as run:
        await watch.opened.wait()
        run.now += 1
        watch.send(added("a", 3, 3), added("gone", 4, 4), bookmark(4))
        await run.noted("BOOKMARK")
        assert run.contents == {"a": 5}
        assert run.reflector.age() == 1
        watch.send(bookmark(5))
        await until(lambda: run.reflector.age() == 0)


async def test_ended_watch_goes_on_from_the_last_version(server: ScriptedServer, api: Api) -> None:
    """After the time limit, the next watch begins at once at the last event or bookmark, without a list."""
    watches = [Watch(added("a", 1, 2)), Watch(bookmark(8)), Watch(added("b", 2, 9))]
    server.script(page(version=1), *watches)
    async with reflecting(api, healthy_after=5) as run:
        for watch, figure in zip(watches, ("ADDED", "BOOKMARK"), strict=False):
            await run.noted(figure)
            run.now += 5
            watch.end()
        await run.told(2)
        assert run.reflector.problem is None
    assert [seen.query["resourceVersion"] for seen in server.watches] == ["1", "2", "8"]
    assert len(server.lists) == 1
    assert run.pauses == []


@pytest.mark.parametrize("end", [lambda: Watch().end(), lambda: Watch(b" ").cut()], ids=["ended", "cut"])
async def test_watch_that_closes_at_once_backs_off_and_lists_again(
    server: ScriptedServer, api: Api, end: Callable[[], Watch], caplog: pytest.LogCaptureFixture
) -> None:
    """If watches end at once, the delays grow up to a limit, and every third delay is followed by a list."""
    for version in (1, 2, 3):
        server.script(page(version=version), *[end() for _ in range(3)])
    async with reflecting(api) as run:
        await until(lambda: len(run.pauses) == 9)
    assert run.pauses == [0.5, 1, 2, 4, 8, 10, 10, 10, 10]
    assert [seen.query["resourceVersion"] for seen in server.watches] == ["1", "1", "1", "2", "2", "2", "3", "3", "3"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING], "one line, not nine"


async def test_short_watches_that_bring_something_need_no_list(server: ScriptedServer, api: Api) -> None:
    """Short watches that deliver events need no list, but are not restarted without delay."""
    server.script(page(version=1), *[Watch(added("a", version, version)).end() for version in range(2, 7)])
    async with reflecting(api) as run:
        await run.told(5)
        await until(lambda: len(run.pauses) == 5)
    assert run.pauses == [0.5, 1, 2, 4, 8]
    assert len(server.lists) == 1


async def test_outage_is_gone_on_from_without_a_list(server: ScriptedServer, api: Api) -> None:
    """After an outage the watch resumes without a list, so that many clients do not all list at once."""
    server.script(page(version=1), Watch(bookmark(2)).cut(), *[drop] * 20, Watch(added("a", 1, 3)))
    async with reflecting(api) as run:
        await run.told(1)
    assert len(server.lists) == 1
    assert {seen.query["resourceVersion"] for seen in server.watches[1:]} == {"2"}


async def test_watch_that_was_taken_proves_nothing(
    server: ScriptedServer, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """An accepted watch without events neither resets the age nor clears the problem."""
    caplog.set_level(logging.INFO, "backendpool")
    server.script(page(version=1), first := Watch(bookmark(2)), drop, second := Watch(b" "))
    async with reflecting(api, healthy_after=0.0) as run:
        await run.noted("BOOKMARK")
        run.now += 1
        first.cut()
        await second.opened.wait()
        await asyncio.sleep(0.1)
        assert run.reflector.age() == 1
        assert isinstance(run.reflector.problem, Unreachable)
        assert "Watch recovered" not in caplog.text
        second.send(bookmark(3))
        await until(lambda: run.reflector.age() == 0)
        assert run.reflector.problem is None
        await until(lambda: caplog.messages[-1].startswith("Watch recovered resource=endpointslices"))


async def test_watch_that_lives_ends_the_growth_of_pauses(
    server: ScriptedServer, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """Once a watch is healthy, the delays start over, and the recovery is logged."""
    caplog.set_level(logging.INFO, "backendpool")
    server.script(page(version=1), Watch().end(), Watch().end(), lives := Watch(bookmark(2)), Watch().end())
    async with reflecting(api, healthy_after=0.2) as run:
        await lives.opened.wait()
        await until(lambda: "Watch recovered resource=endpointslices" in caplog.text)
        lives.cut()
        await until(lambda: len(server.watches) == 5)
    assert run.pauses[:3] == [0.5, 1, 0.5]


def test_pauses_have_full_jitter() -> None:
    """Delays have full jitter, so that clients do not return together."""
    jitter = ReflectorTiming().jitter
    drawn = [jitter(0.0, 30.0) for _ in range(200)]
    assert min(drawn) < 3
    assert max(drawn) > 27


@pytest.mark.parametrize("gone", [refuse(410, "Expired"), Watch(error(410, "Expired"))], ids=["http", "stream"])
async def test_version_too_old_lists_again_at_once(
    server: ScriptedServer, api: Api, gone: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """410 for a resumed watch, as a status or an event, leads to a list at once, without a warning."""
    server.script(page(thing("a", 1), version=1), first := Watch(added("b", 2, 2)), gone)
    server.script(page(thing("a", 1), thing("b", 2), thing("c", 3), version=50))
    async with reflecting(api, healthy_after=0.0) as run:
        await run.told(2)
        first.end()
        assert (await run.told(3))[2] == Change(C, None, 3)
        await until(lambda: len(server.watches) == 3)
    assert server.watches[-1].query["resourceVersion"] == "50"
    assert (run.pauses, caplog.records) == ([], [])


async def test_version_too_old_after_an_outage_lists_at_once(server: ScriptedServer, api: Api) -> None:
    """Earlier failures do not delay the list after a 410."""
    server.script(page(version=1), *[drop] * 5, refuse(410, "Gone"), page(thing("a", 1), version=9))
    async with reflecting(api) as run:
        await run.told(1)
        await until(lambda: run.reflector.problem is None)
    assert run.pauses == [0.5, 1, 2, 4, 8][: len(run.pauses)]
    assert set(run.figures) == {(ENDPOINT_SLICES, figure) for figure in (0, 1, Unreachable)}


async def test_version_too_old_right_after_a_list_backs_off(server: ScriptedServer, api: Api) -> None:
    """410 right after a list is retried with backoff."""
    for _ in range(4):
        server.script(page(thing("a", 1), version=1), refuse(410, "Gone"))
    async with reflecting(api) as run:
        await until(lambda: len(server.lists) == 5)
    assert run.pauses == [0.5, 1, 2, 4]


async def test_half_open_watch_is_given_up(server: ScriptedServer, api: Api) -> None:
    """A watch that delivers nothing, not even a bookmark, is closed, and a list shows what it missed."""
    server.script(page(version=1), silent := Watch(added("a", 1, 2)), page(thing("a", 1), thing("b", 2), version=3))
    async with reflecting(api, idle_timeout=0.3) as run:
        assert await run.told(2) == [Change(A, None, 1), Change(B, None, 2)]
        await asyncio.wait_for(silent.left.wait(), 5)
        assert (ENDPOINT_SLICES, Stalled) in run.figures
    assert [seen.query["resourceVersion"] for seen in server.watches[:2]] == ["1", "3"]
    assert run.pauses == [0.5]


async def test_bookmarks_keep_a_quiet_watch(server: ScriptedServer, api: Api) -> None:
    """Bookmarks keep a quiet watch open."""
    server.script(page(version=1), quiet := Watch())
    async with reflecting(api, idle_timeout=1.0) as run:
        await quiet.opened.wait()
        for version in range(2, 6):
            await asyncio.sleep(0.3)
            quiet.send(bookmark(version))
        await until(lambda: run.figures.count((ENDPOINT_SLICES, "BOOKMARK")) == 4)
        assert len(server.watches) == 1


async def test_watch_that_is_cut_goes_on_from_the_last_whole_event(server: ScriptedServer, api: Api) -> None:
    """After a cut, the watch resumes at the last complete event."""
    server.script(page(version=1), Watch(added("a", 1, 2)).cut(), Watch(added("b", 2, 3)))
    async with reflecting(api) as run:
        assert await run.told(2) == [Change(A, None, 1), Change(B, None, 2)]
    assert [seen.query["resourceVersion"] for seen in server.watches[:2]] == ["1", "2"]
    assert run.pauses == [0.5]


@pytest.mark.parametrize(
    "broken",
    [
        added("b", 2, 3)[:-9],
        b"<html>proxy</html>\n" + added("b", 7, 7),
        line("ADDED", {"metadata": {"resourceVersion": "3"}}),
        line("ERROR", {"metadata": {}}),
    ],
    ids=["truncated", "foreign", "nameless", "no error"],
)
async def test_what_cannot_be_decoded_lists_again(server: ScriptedServer, api: Api, broken: bytes) -> None:
    """A line that cannot be decoded leads to a list; the events before it count."""
    server.script(page(version=1), Watch(added("a", 1, 2), broken).end(), page(thing("a", 1), thing("b", 2), version=9))
    async with reflecting(api) as run:
        assert await run.told(2) == [Change(A, None, 1), Change(B, None, 2)]
        await until(lambda: len(server.watches) == 2)
    assert server.watches[1].query["resourceVersion"] == "9"
    assert run.pauses == [0.5]


async def test_unknown_failure_in_the_stream_lists_again(server: ScriptedServer, api: Api) -> None:
    """An unknown ERROR event leads to a list, since events may be lost."""
    server.script(page(thing("a", 1), version=1), Watch(error(500, "InternalError")), page(thing("a", 2), version=9))
    async with reflecting(api) as run:
        assert await run.told(2) == [Change(A, None, 1), Change(A, 1, 2)]
    assert run.pauses == [0.5]

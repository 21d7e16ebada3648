"""The fault proxy before a server on loopback: forwarding and faults."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from yarl import URL

from tests.fakes.until import until
from tools.fault_proxy import proxy
from tools.fault_proxy.rules import Action, Point, Rule

AGENT = "backendpool/0.1.0 gateway (mine)"
EVENTS = [{"type": "ADDED", "object": {"n": n}} for n in range(3)]
LINES = [json.dumps(event, separators=(",", ":")).encode() + b"\n" for event in EVENTS]
BOOKMARK = b'{"type":"BOOKMARK","object":{}}\n'


class Upstream:
    """Echoes requests; a watch sends a bookmark, then an event on request."""

    def __init__(self) -> None:
        self.go = asyncio.Semaphore(0)
        self.watches = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await self._watch(request)
        echo = {
            "method": request.method,
            "path": request.raw_path,
            "authorization": request.headers.get("Authorization"),
            "body": await request.text(),
        }
        return web.json_response(echo, status=201 if request.method == "POST" else 200, headers={"Audit-Id": "1"})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        self.watches += 1
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(BOOKMARK)
        try:
            for line in LINES:
                await self.go.acquire()
                await response.write(line)
        finally:
            self.watches -= 1
        return response


class Between:
    """A client of the proxy and of its control."""

    def __init__(self, session: aiohttp.ClientSession, port: int, control: int) -> None:
        self.session = session
        self.url = f"http://127.0.0.1:{port}"
        self.control = f"http://127.0.0.1:{control}"
        self.open: list[aiohttp.ClientResponse] = []

    async def script(self, *rules: Rule) -> None:
        async with self.session.post(f"{self.control}/script", json=[r.as_json() for r in rules]) as answer:
            assert answer.status == 200

    async def used(self) -> list[dict[str, int]]:
        async with self.session.get(f"{self.control}/script") as answer:
            return list((await answer.json())["used"])

    async def cut(self) -> int:
        async with self.session.post(f"{self.control}/cut") as answer:
            return int((await answer.json())["cut"])

    async def get(self, path: str = "/pods") -> tuple[int, Any]:
        async with self.session.get(self.url + path) as answer:
            return answer.status, await answer.json()

    async def watch(self) -> aiohttp.ClientResponse:
        answer = await self.session.get(f"{self.url}/pods?watch=1")
        self.open.append(answer)
        assert await answer.content.readline() == BOOKMARK
        return answer


@pytest_asyncio.fixture
async def upstream() -> Upstream:
    return Upstream()


@pytest_asyncio.fixture
async def between(upstream: Upstream) -> AsyncIterator[Between]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", upstream.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.01)
    async with AsyncExitStack() as stack:
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = "http://{}:{}".format(*runner.addresses[0][:2])
        port, control = await stack.enter_async_context(proxy.serving(url, host="127.0.0.1"))
        session = await stack.enter_async_context(aiohttp.ClientSession(headers={"User-Agent": AGENT}))
        between = Between(session, port, control)
        yield between
        for answer in between.open:
            answer.close()


async def test_request_is_passed_on_as_it_is(between: Between) -> None:
    """Method, escaped path, query, body and Authorization are forwarded; status and headers return."""
    headers = {"Authorization": "Bearer mine"}
    url = f"{between.url}/a%3Ab?x=1"
    async with between.session.post(URL(url, encoded=True), data="body", headers=headers) as answer:
        assert (answer.status, answer.headers["Audit-Id"]) == (201, "1")
        assert await answer.json() == {
            "method": "POST",
            "path": "/a%3Ab?x=1",
            "authorization": "Bearer mine",
            "body": "body",
        }


async def test_events_are_passed_on_as_they_come(between: Between, upstream: Upstream) -> None:
    """Each event is forwarded at once, and the end after the last."""
    watch = await between.watch()
    for line in LINES:
        upstream.go.release()
        assert await watch.content.readline() == line
    assert await watch.content.read() == b""


@pytest.mark.parametrize("status", [401, 403, 410, 429, 500, 503])
async def test_refuse(between: Between, status: int) -> None:
    """REFUSE returns a Status document with its HTTP status, as often as requested, and is counted."""
    await between.script(Rule(Action.REFUSE, count=1, status=status, retry_after=7))
    async with between.session.get(f"{between.url}/pods") as answer:
        document = await answer.json()
        assert (answer.status, answer.headers["Retry-After"]) == (status, "7")
    assert (document["kind"], document["code"], document["details"]) == ("Status", status, {"retryAfterSeconds": 7})
    assert (await between.get())[0] == 200
    assert await between.used() == [{AGENT: 1}]


async def test_only_whom_a_rule_names(between: Between) -> None:
    """A rule for one caller does not affect another."""
    await between.script(Rule(Action.REFUSE, agent="gateway"))
    assert (await between.get())[0] == 503
    async with between.session.get(f"{between.url}/pods", headers={"User-Agent": "another"}) as answer:
        assert answer.status == 200


async def test_refuse_within_a_watch(between: Between, upstream: Upstream) -> None:
    """In an open watch, REFUSE sends an ERROR event instead of the next event."""
    watch = await between.watch()
    await between.script(Rule(Action.REFUSE, Point.EVENT, status=410))
    upstream.go.release()
    event = json.loads(await watch.content.readline())
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
    assert await watch.content.read() == b""


async def test_cut_a_request(between: Between) -> None:
    """CUT resets the connection without a response."""
    await between.script(Rule(Action.CUT, count=1))
    with pytest.raises(aiohttp.ClientConnectionError):
        await between.session.post(f"{between.url}/pods")  # unlike GET, it is not tried again


async def test_cut_just_before_an_event(between: Between, upstream: Upstream) -> None:
    """CUT at an event delivers the event before it, and not this one."""
    watch = await between.watch()
    upstream.go.release()
    assert await watch.content.readline() == LINES[0]
    await between.script(Rule(Action.CUT, Point.EVENT))
    upstream.go.release()
    with pytest.raises(aiohttp.ClientError):
        await watch.content.readline()


async def test_cut_all_that_is_open(between: Between, upstream: Upstream) -> None:
    """Cutting all connections resets both sides without a request or event."""
    watch = await between.watch()
    assert await between.cut() == 1
    with pytest.raises(aiohttp.ClientError):
        await watch.content.readline()
    await until(lambda: not upstream.watches)


async def test_stall(between: Between, upstream: Upstream) -> None:
    """STALL sends neither a response nor an event and keeps the connection open."""
    watch = await between.watch()
    await between.script(Rule(Action.STALL, Point.EVENT), Rule(Action.STALL))
    upstream.go.release()
    for silent in (watch.content.readline(), between.get()):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(silent, 0.3)
    assert await between.used() == [{AGENT: 1}, {AGENT: 1}]


async def test_delay(between: Between, upstream: Upstream) -> None:
    """DELAY delivers requests and events later."""
    watch = await between.watch()
    await between.script(Rule(Action.DELAY, Point.EVENT, seconds=0.2), Rule(Action.DELAY, seconds=0.2))
    begun = time.monotonic()
    upstream.go.release()
    assert await watch.content.readline() == LINES[0]
    assert (await between.get())[0] == 200
    assert time.monotonic() - begun >= 0.4


async def test_truncate(between: Between, upstream: Upstream) -> None:
    """TRUNCATE sends half a line, then a normal end."""
    watch = await between.watch()
    await between.script(Rule(Action.TRUNCATE, Point.EVENT))
    upstream.go.release()
    assert await watch.content.read() == LINES[0][: len(LINES[0]) // 2]


async def test_close_after_a_while(between: Between, upstream: Upstream) -> None:
    """CLOSE ends a watch normally after its time."""
    await between.script(Rule(Action.CLOSE, watch=True, seconds=0.3))
    watch = await between.watch()
    upstream.go.release()
    assert await watch.content.read() == LINES[0]


async def test_bookmarks_are_no_events(between: Between) -> None:
    """Rules for events ignore bookmarks."""
    await between.script(Rule(Action.CUT, Point.EVENT, count=1))
    await between.watch()
    assert await between.used() == [{}]


async def test_rules_that_nobody_understands_are_refused(between: Between) -> None:
    """Invalid rules are rejected with a message, and the current ones are kept."""
    await between.script(Rule(Action.REFUSE))
    async with between.session.post(f"{between.control}/script", json=[{"action": "no"}]) as answer:
        assert answer.status == 400
        assert "not a list of rules" in await answer.text()
    assert (await between.get())[0] == 503

"""The session that another client asks in, and what is seen of its requests."""

import os
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from backendpool.cluster.credentials import Access
from backendpool.cluster.reflector import ReflectorTiming
from backendpool.cluster.session import observed_session
from backendpool.errors import ClusterError
from tests.unit.cluster_io.scripted import ScriptedServer, Watch, page, refuse


class Asking:
    """Another client, what was told of it, and how it was made to pause."""

    def __init__(self, url: str) -> None:
        self.failures: list[tuple[str, str]] = []
        self.watches: list[str] = []
        self.pauses: list[float] = []
        timing = ReflectorTiming(settled=60, backoff=1, longest_backoff=3, sleep=self._sleep, jitter=max)
        access = Access(url, "Bearer secret", None, None, None, verify=True)
        self.session = observed_session(access, self._failed, self.watches.append, timing)
        self.url = url

    def _failed(self, path: str, error: ClusterError) -> None:
        self.failures.append((path, str(error)))

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def get(self, path: str) -> bytes:
        async with self.session.get(self.url + path) as response:
            return await response.read()


@pytest_asyncio.fixture
async def asking(monkeypatch: pytest.MonkeyPatch, server: ScriptedServer) -> AsyncIterator[Asking]:
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    asking = Asking(server.url)
    async with asking.session:
        yield asking


async def test_requests_say_who_asks(server: ScriptedServer, asking: Asking) -> None:
    """By the token that our own requests have."""
    server.script(page(version=5))
    await asking.get("/pools")
    assert server.requests[0].headers["Authorization"] == "Bearer secret"
    assert asking.failures == []


async def test_refusal_is_seen_and_still_there_to_be_read(server: ScriptedServer, asking: Asking) -> None:
    """In the API server's own words, which are the other client's to read as well."""
    server.script(refuse(403, "Forbidden"))
    assert b"Forbidden it is" in await asking.get("/pools?watch=true")
    assert asking.failures == [("/pools", "403 Forbidden: Forbidden it is")]
    assert asking.watches == []


async def test_answer_that_does_not_come_is_seen(server: ScriptedServer, asking: Asking) -> None:
    """As it is with our own requests."""
    asking.url = "http://127.0.0.1:1"
    with pytest.raises(aiohttp.ClientConnectionError):
        await asking.get("/pools")
    ((path, error),) = asking.failures
    assert path == "/pools"
    assert error.startswith("GET /pools: Cannot connect to host 127.0.0.1:1")


async def test_watch_that_is_closed_at_once_is_followed_by_a_pause(server: ScriptedServer, asking: Asking) -> None:
    """Each time a longer one; another path has nothing to do with it, nor has a list."""
    server.script(*(Watch().end() for _ in range(5)), page(version=5), Watch().end())
    for _ in range(4):
        await asking.get("/a?watch=true")
    await asking.get("/b?watch=true")
    assert asking.pauses == [1, 2, 3]
    assert asking.failures == [("/a", "GET /a: the watch was closed at once")] * 3
    assert asking.watches == ["/a"] * 4 + ["/b"]
    await asking.get("/a")
    await asking.get("/a?watch=true")
    assert asking.pauses == [1, 2, 3], "a list is what a client asks for that means to begin anew"

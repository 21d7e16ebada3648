"""The session that kopf uses for its requests."""

import os
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from backendpool.errors import ClusterError
from backendpool.k8s.access import Access
from backendpool.k8s.reflector import ReflectorTiming
from backendpool.k8s.session import observed_session
from tests.unit.k8s.scripted import ScriptedServer, Watch, error, page, refuse


class Asking:
    """Another client, what was reported of its requests, and its delays."""

    def __init__(self, url: str, settled: float) -> None:
        self.sent: list[str] = []
        self.failures: list[tuple[str, str]] = []
        self.watches: list[str] = []
        self.pauses: list[float] = []
        timing = ReflectorTiming(healthy_after=settled, backoff=1, longest_backoff=3, sleep=self._sleep, jitter=max)
        access = Access(url, "Bearer secret", None, None, None, verify=True)
        self.session = observed_session(
            access,
            "backendpool/1 operator (test)",
            self.sent.append,
            self._failed,
            self.watches.append,
            timing,
        )
        self.url = url

    def _failed(self, path: str, error: ClusterError) -> None:
        self.failures.append((path, str(error)))

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def get(self, path: str) -> bytes:
        async with self.session.get(self.url + path) as response:
            return await response.read()


@pytest.fixture
def settled() -> float:
    """Seconds after which a watch counts as healthy."""
    return 60.0


@pytest_asyncio.fixture
async def asking(monkeypatch: pytest.MonkeyPatch, server: ScriptedServer, settled: float) -> AsyncIterator[Asking]:
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    asking = Asking(server.url, settled)
    async with asking.session:
        yield asking


async def test_requests_say_who_asks(server: ScriptedServer, asking: Asking) -> None:
    """Requests carry the token and the user agent of the operator."""
    server.script(page(version=5))
    await asking.get("/pools")
    headers = server.requests[0].headers
    assert (headers["Authorization"], headers["User-Agent"]) == ("Bearer secret", "backendpool/1 operator (test)")
    assert asking.failures == []


async def test_requests_are_told_by_their_verbs(server: ScriptedServer, asking: Asking) -> None:
    """Requests are counted by verb, with or without a response."""
    server.script(page(version=5), page(version=5), refuse(403, "Forbidden"))
    for query in ("", "?limit=100", "?watch=true"):
        await asking.get(f"/pools{query}")
    assert asking.sent == ["get", "list", "watch"]


async def test_refusal_is_seen_and_still_there_to_be_read(server: ScriptedServer, asking: Asking) -> None:
    """A rejection is reported, and its body can still be read by the client."""
    server.script(refuse(403, "Forbidden"))
    assert b"Forbidden it is" in await asking.get("/pools?watch=true")
    assert asking.failures == [("/pools", "403 Forbidden: Forbidden it is")]
    assert asking.watches == []


async def test_answer_that_does_not_come_is_seen(server: ScriptedServer, asking: Asking) -> None:
    """A request without a response is reported."""
    asking.url = "http://127.0.0.1:1"
    with pytest.raises(aiohttp.ClientConnectionError):
        await asking.get("/pools")
    ((path, error),) = asking.failures
    assert path == "/pools"
    assert error.startswith("GET /pools: Cannot connect to host 127.0.0.1:1")


async def test_watch_that_is_closed_at_once_is_followed_by_a_pause(server: ScriptedServer, asking: Asking) -> None:
    """A watch that ends at once delays the next one, longer each time, per path."""
    server.script(*(Watch().end() for _ in range(5)))
    for _ in range(4):
        await asking.get("/a?watch=true")
    await asking.get("/b?watch=true")
    assert asking.pauses == [1, 2, 3]
    assert asking.failures == [("/a", "GET /a: the watch was closed at once")] * 3
    assert asking.watches == ["/a"] * 4 + ["/b"]


async def test_list_after_a_watch_that_is_closed_at_once_waits_as_well(server: ScriptedServer, asking: Asking) -> None:
    """The delay applies to the list after it too."""
    for _ in range(3):
        server.script(page(version=5), Watch(error(410, "Expired")).end())
        await asking.get("/a")
        await asking.get("/a?watch=true")
    server.script(page(version=5))
    await asking.get("/a")
    assert asking.pauses == [1, 2, 3]
    assert [path for path, _ in asking.failures] == ["/a"] * 3


@pytest.mark.parametrize("settled", [0.0])
async def test_watch_that_lived_is_not_followed_by_a_pause(server: ScriptedServer, asking: Asking) -> None:
    """A watch that lived long enough causes no delay."""
    server.script(Watch().end(), Watch().end(), page(version=5))
    for path in ("/a?watch=true", "/a?watch=true", "/a"):
        await asking.get(path)
    assert (asking.pauses, asking.failures) == ([], [])


async def test_paths_are_those_of_the_api(monkeypatch: pytest.MonkeyPatch, server: ScriptedServer) -> None:
    """Paths are relative to the API server, also below a path prefix."""
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    asking = Asking(f"{server.url}/clusters/one", 60)
    server.script(refuse(403, "Forbidden"), Watch().end())
    async with asking.session:
        await asking.get("/pools?watch=true")
        await asking.get("/pools?watch=true")
    assert [path for path, _ in asking.failures] == asking.watches == ["/pools"]
    assert [seen.path for seen in server.requests] == ["/clusters/one/pools"] * 2

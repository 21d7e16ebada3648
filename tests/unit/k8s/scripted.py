"""An API server on loopback that answers from a script: real sockets, real HTTP, no patched methods."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.fakes.objects import pool

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

POOL = pool("greet", namespace="ns", resource_version=7, status={"ready": 3})


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as the server saw it."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


class ScriptedServer:
    """Answers each request with the next entry of the script; requests beyond its end get no response."""

    def __init__(self) -> None:
        self.requests: list[Seen] = []
        self.url = ""
        self._script: deque[Answer] = deque()

    def script(self, *answers: Answer) -> None:
        self._script.extend(answers)

    @property
    def watches(self) -> list[Seen]:
        return [seen for seen in self.requests if "watch" in seen.query]

    @property
    def lists(self) -> list[Seen]:
        return [seen for seen in self.requests if "limit" in seen.query]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        body = json.loads(text) if text else None
        self.requests.append(Seen(request.method, request.raw_path.split("?")[0], request.query, request.headers, body))
        answer = self._script.popleft() if self._script else Watch()
        return await answer(request)

    @asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[None]:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.01)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        self.url = "{}://{}:{}".format("https" if tls else "http", *runner.addresses[0][:2])
        try:
            yield
        finally:
            await runner.cleanup()

    def kubeconfig(self, folder: Path, user: Mapping[str, Any], *, namespace: str = "", **cluster: Any) -> str:
        """Return the path of a kubeconfig for this server, with ``namespace`` in its context if given."""
        named = {"namespace": namespace} if namespace else {}
        path = folder / "kubeconfig"
        document = {
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", **named}}],
            "clusters": [{"name": "test", "cluster": {"server": self.url} | cluster}],
            "users": [{"name": "test", "user": dict(user)}],
        }
        path.write_text(json.dumps(document))
        return str(path)


class Watch:
    """A watch that a test feeds: events by ``send``, its end by ``end`` or ``cut``."""

    def __init__(self, *events: bytes) -> None:
        self.opened = asyncio.Event()
        self.left = asyncio.Event()
        """Set when the client closed the connection."""
        self._commands: asyncio.Queue[bytes | Callable[[web.Request], None] | None] = asyncio.Queue()
        self.send(*events)

    def send(self, *events: bytes) -> None:
        for event in events:
            self._commands.put_nowait(event)

    def end(self) -> Watch:
        """End the watch normally, as the API server does at the time limit."""
        self._commands.put_nowait(None)
        return self

    def cut(self) -> Watch:
        """Reset the connection in the middle of the watch, like a broken network."""
        self._commands.put_nowait(_abort)
        return self

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        self.opened.set()
        try:
            while (command := await self._commands.get()) is not None:
                if isinstance(command, bytes):
                    await response.write(command)
                else:
                    command(request)
        except asyncio.CancelledError:
            self.left.set()
            raise
        return response


def _abort(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()


async def drop(request: web.Request) -> web.StreamResponse:
    """Close the connection, like a proxy whose server is down."""
    _abort(request)
    return web.Response()


def answer(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Answer with a JSON document."""

    async def respond(request: web.Request) -> web.StreamResponse:
        return web.json_response(document, status=status, headers=headers)

    return respond


def raw(body: bytes, status: int = 200) -> Answer:
    """Answer with bytes that no API server writes."""

    async def respond(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status)

    return respond


def refuse(code: int, reason: str, headers: Mapping[str, str] | None = None, **details: Any) -> Answer:
    """Answer with a Status document, as the API server rejects requests."""
    return answer(status_document(code, reason, **details), code, headers)


def status_document(code: int, reason: str, **details: Any) -> dict[str, Any]:
    return {
        "kind": "Status",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": f"{reason} it is",
        "details": details,
    }


def page(*objects: Mapping[str, Any], version: int, more: str = "") -> Answer:
    """Return a page of a list; ``more`` is the continue token."""
    return answer(
        {
            "kind": "List",
            "metadata": {"resourceVersion": str(version)} | ({"continue": more} if more else {}),
            "items": list(objects),
        }
    )


def thing(name: str, value: int | str = 0, version: int = 1) -> dict[str, Any]:
    """Return an object with the content ``value``."""
    meta = {"namespace": "ns", "name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": meta, "value": value}


def line(kind: str, obj: Mapping[str, Any]) -> bytes:
    """Return a line of a watch."""
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


def added(name: str, value: int | str = 0, version: int = 1) -> bytes:
    return line("ADDED", thing(name, value, version))


def modified(name: str, value: int | str = 0, version: int = 1) -> bytes:
    return line("MODIFIED", thing(name, value, version))


def deleted(name: str, value: int | str = 0, version: int = 1) -> bytes:
    return line("DELETED", thing(name, value, version))


def bookmark(version: int) -> bytes:
    return line("BOOKMARK", {"metadata": {"resourceVersion": str(version)}})


def error(code: int, reason: str, **details: Any) -> bytes:
    return line("ERROR", status_document(code, reason, **details))


async def hang(request: web.Request) -> web.StreamResponse:
    """Accept the request and never answer."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")

"""A reverse proxy in front of the API server that injects faults.

    python -m faults.proxy UPSTREAM [--port 8001] [--control-port 8002] [--ca FILE]

It forwards the Authorization of each caller and has no credentials itself. The control port sets the rules, and no
fault affects it:

    POST /script    replace the rules by a JSON list (see `rules`)
    GET /script     return how often each rule was used, by User-Agent
    POST /cut       reset all open connections
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import aiohttp
from aiohttp import web
from yarl import URL

from .rules import Action, Asked, Point, Rule, Script

_HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host", "content-length"}
_BOOKMARK = b'{"type":"BOOKMARK"'


class Proxy:
    """Forwards requests to ``upstream`` (scheme, host and port) unless a rule of its script applies."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        self._upstream = upstream
        self._session = session
        self._script = Script()
        self._open: set[asyncio.Transport] = set()

    def application(self) -> web.Application:
        """Return the application for the programs under test."""
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    def control(self) -> web.Application:
        """Return the application with which tests set the rules."""
        app = web.Application()
        app.router.add_post("/script", self._replace)
        app.router.add_get("/script", self._tell)
        app.router.add_post("/cut", self._cut)
        return app

    async def _replace(self, request: web.Request) -> web.Response:
        try:
            self._script = Script(Rule.from_json(fields) for fields in json.loads(await request.text()))
        except (ValueError, TypeError, KeyError) as error:
            raise web.HTTPBadRequest(text=f"not a list of rules: {error!r}") from error
        return await self._tell(request)

    async def _tell(self, _: web.Request) -> web.Response:
        return web.json_response({"used": self._script.used})

    async def _cut(self, _: web.Request) -> web.Response:
        reset = list(self._open)
        for transport in reset:
            transport.abort()
        return web.json_response({"cut": len(reset)})

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None
        self._open.add(transport)
        try:
            return await self._answer(request)
        except (aiohttp.ClientError, OSError):
            # Upstream is gone, or the caller: to the caller, both are a connection that broke.
            transport.abort()
            return web.Response()
        finally:
            self._open.discard(transport)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        rule = self._take(Point.REQUEST, request)
        if rule is None:
            return await self._pass_on(request)
        if rule.action is Action.REFUSE:
            return web.json_response(status_document(rule), status=rule.status, headers=_retry_after(rule))
        if rule.action is Action.CLOSE:
            return await self._pass_on(request, rule.seconds)
        await _hold_up(rule)
        return await self._pass_on(request)

    async def _pass_on(self, request: web.Request, lifetime: float | None = None) -> web.StreamResponse:
        # Events are told apart by line ends, which a compressed answer would hide.
        headers = _forwarded(request.headers) | {"Accept-Encoding": "identity"}
        url = URL(self._upstream + request.raw_path, encoded=True)
        body = await request.read()
        async with self._session.request(request.method, url, headers=headers, data=body or None) as answer:
            response = web.StreamResponse(status=answer.status, headers=_forwarded(answer.headers))
            await response.prepare(request)
            with suppress(TimeoutError):
                async with asyncio.timeout(lifetime):
                    await self._copy(request, answer, response)
            await response.write_eof()
            return response

    async def _copy(self, request: web.Request, answer: aiohttp.ClientResponse, response: web.StreamResponse) -> None:
        if answer.status != 200 or not _is_watch(request):
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return
        async for line in _lines(answer.content):
            rule = None if line.startswith(_BOOKMARK) else self._take(Point.EVENT, request)
            if rule is not None and rule.action is Action.REFUSE:
                event = {"type": "ERROR", "object": status_document(rule)}
                await response.write(json.dumps(event).encode() + b"\n")
                return
            if rule is not None and rule.action is Action.TRUNCATE:
                await response.write(line[: len(line) // 2])
                return
            if rule is not None:
                await _hold_up(rule)
            await response.write(line)

    def _take(self, at: Point, request: web.Request) -> Rule | None:
        agent = request.headers.get("User-Agent", "")
        return self._script.take(Asked(at, request.method, request.path, _is_watch(request), agent))


async def _hold_up(rule: Rule) -> None:
    """Wait as the rule says, possibly forever, or fail like a broken connection."""
    if rule.action is Action.CUT:
        raise ConnectionResetError
    if rule.action is Action.STALL:
        await asyncio.Event().wait()
    await asyncio.sleep(rule.seconds)


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield lines of any length with their ends."""
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line + b"\n"
    if rest:
        yield rest


def status_document(rule: Rule) -> dict[str, object]:
    """Return the ``Status`` with which the API server rejects requests."""
    details = {"retryAfterSeconds": rule.retry_after} if rule.retry_after is not None else {}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": rule.status,
        "reason": _REASONS.get(rule.status, "Unknown"),
        "message": f"{rule.status} by the fault proxy",
        "details": details,
    }


_REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}


def _retry_after(rule: Rule) -> dict[str, str]:
    return {"Retry-After": str(rule.retry_after)} if rule.retry_after is not None else {}


def _is_watch(request: web.Request) -> bool:
    return request.query.get("watch") in ("1", "true")


def _forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _HOP_BY_HOP}


@asynccontextmanager
async def serving(
    upstream: str, *, host: str = "", port: int = 0, control_port: int = 0, ca: str | None = None
) -> AsyncIterator[tuple[int, int]]:
    """Serve while the context lasts; yields the ports of the proxy and of its control."""
    tls: ssl.SSLContext | bool = ssl.create_default_context(cafile=ca) if ca else True
    connector = aiohttp.TCPConnector(limit=0, ssl=tls)
    # No limit of its own: whoever calls has one, and stalls are what this is made for.
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:
        proxy = Proxy(upstream, session)
        async with (
            _listening(proxy.application(), host, port) as one,
            _listening(proxy.control(), host, control_port) as two,
        ):
            yield one, two


@asynccontextmanager
async def _listening(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host or None, port).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _main() -> None:
    parser = argparse.ArgumentParser(description="Proxy an API server and inject faults.")
    parser.add_argument("upstream", help="the API server, as https://host:port")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--control-port", type=int, default=8002)
    parser.add_argument("--ca", help="CA certificate of the upstream")
    args = parser.parse_args()
    async with serving(args.upstream, port=args.port, control_port=args.control_port, ca=args.ca):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main())

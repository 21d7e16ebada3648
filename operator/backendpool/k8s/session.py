"""An aiohttp session for kopf: with our credentials, and observed by trace hooks.

kopf retries by itself and reports failures to its log only. After a watch that is closed at once or ended by an ERROR
event, it lists or watches again without a delay, so a pause is added here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from urllib.request import getproxies

import aiohttp
from yarl import URL

from backendpool.errors import ClusterError, Unreachable
from backendpool.k8s.access import Access
from backendpool.k8s.reflector import ReflectorTiming
from backendpool.k8s.request import verb_of
from backendpool.k8s.responses import error_response, unreachable

Sent = Callable[[str], object]
"""Called with the verb of each request."""
Failed = Callable[[str, ClusterError], object]
"""Called with the path of a request that failed or a watch that was closed at once, and the error."""
Watching = Callable[[str], object]
"""Called with the path of a watch that was accepted."""


def observed_session(
    access: Access, user_agent: str, sent: Sent, failed: Failed, watching: Watching, timing: ReflectorTiming
) -> aiohttp.ClientSession:
    """Open a session, which the caller closes; the callbacks run in the thread that uses it."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=access.tls()),
        headers={"User-Agent": user_agent} | ({"Authorization": access.authorization} if access.authorization else {}),
        trust_env=bool(getproxies()),
        trace_configs=[_Trace(access.server, sent, failed, watching, timing).config()],
    )


class _Trace:
    def __init__(self, server: str, sent: Sent, failed: Failed, watching: Watching, timing: ReflectorTiming) -> None:
        self._base = URL(server).path.rstrip("/")
        self._sent = sent
        self._failed = failed
        self._watching = watching
        self._timing = timing
        self._accepted_at: dict[str, float] = {}
        self._closed_at_once: Counter[str] = Counter()

    def config(self) -> aiohttp.TraceConfig:
        config = aiohttp.TraceConfig()
        config.on_request_start.append(self._on_start_count)
        config.on_request_start.append(self._on_start_pause)
        config.on_request_end.append(self._on_response)
        config.on_request_exception.append(self._on_exception)
        return config

    def _path(self, url: URL) -> str:
        """Return the path below the server's URL."""
        return url.path.removeprefix(self._base)

    async def _on_start_count(
        self, session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestStartParams
    ) -> None:
        self._sent(verb_of(params.method, params.url.query))

    async def _on_start_pause(
        self, session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestStartParams
    ) -> None:
        path = self._path(params.url)
        accepted_at = self._accepted_at.pop(path, None)
        if accepted_at is None:
            return
        if self._timing.clock() - accepted_at > self._timing.healthy_after:
            del self._closed_at_once[path]
            return
        self._closed_at_once[path] += 1
        self._failed(path, Unreachable(f"{params.method} {path}: the watch was closed at once"))
        await self._timing.sleep(self._timing.pause(self._closed_at_once[path]))

    async def _on_response(
        self, session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestEndParams
    ) -> None:
        path = self._path(params.url)
        if params.response.status >= 400:
            self._failed(path, await error_response(params.response))
        elif _is_watch(params.url):
            self._accepted_at[path] = self._timing.clock()
            self._watching(path)

    async def _on_exception(
        self, session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestExceptionParams
    ) -> None:
        if isinstance(params.exception, Exception):  # and not a cancellation
            path = self._path(params.url)
            self._failed(path, unreachable(f"{params.method} {path}", params.exception))


def _is_watch(url: URL) -> bool:
    return "watch" in url.query

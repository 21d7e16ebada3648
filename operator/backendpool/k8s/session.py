"""A session for another client in the same process: by our way to the API server, and with us looking on.

kopf tries again by itself, and tells nobody but its log. After a watch that is closed at once, or that an ERROR event
ends, it lists or watches again at once; so it is made to pause here.
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
from backendpool.k8s.failures import refusal, unreachable
from backendpool.k8s.reflector import ReflectorTiming
from backendpool.k8s.request import verb_of
from backendpool.runtime.clock import since_boot

Sent = Callable[[str], object]
"""Told the verb of each request."""
Failed = Callable[[str, ClusterError], object]
"""Told the path of a request that failed, or of a watch that was closed at once."""
Watching = Callable[[str], object]
"""Told the path of a watch that the server took."""


def observed_session(
    access: Access, user_agent: str, sent: Sent, failed: Failed, watching: Watching, timing: ReflectorTiming
) -> aiohttp.ClientSession:
    """To be closed by whoever has it opened; tells what it does in the thread that it is used in."""
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
        self._taken_at: dict[str, float] = {}
        self._closed_at_once: Counter[str] = Counter()

    def config(self) -> aiohttp.TraceConfig:
        config = aiohttp.TraceConfig()
        config.on_request_start.append(self._is_sent)
        config.on_request_start.append(self._starts)
        config.on_request_end.append(self._is_answered)
        config.on_request_exception.append(self._is_not_answered)
        return config

    def _path(self, url: URL) -> str:
        """As the API has it, wherever the server is."""
        return url.path.removeprefix(self._base)

    async def _is_sent(
        self, session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestStartParams
    ) -> None:
        self._sent(verb_of(params.method, params.url.query))

    async def _starts(
        self, session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestStartParams
    ) -> None:
        path = self._path(params.url)
        taken_at = self._taken_at.pop(path, None)
        if taken_at is None:
            return
        if since_boot() - taken_at > self._timing.settled:
            del self._closed_at_once[path]
            return
        self._closed_at_once[path] += 1
        self._failed(path, Unreachable(f"{params.method} {path}: the watch was closed at once"))
        await self._timing.sleep(self._timing.pause(self._closed_at_once[path]))

    async def _is_answered(
        self, session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestEndParams
    ) -> None:
        path = self._path(params.url)
        if params.response.status >= 400:
            self._failed(path, await refusal(params.response))
        elif _is_watch(params.url):
            self._taken_at[path] = since_boot()
            self._watching(path)

    async def _is_not_answered(
        self, session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestExceptionParams
    ) -> None:
        if isinstance(params.exception, Exception):  # and not a cancellation
            path = self._path(params.url)
            self._failed(path, unreachable(f"{params.method} {path}", params.exception))


def _is_watch(url: URL) -> bool:
    return "watch" in url.query

"""Send requests to the API server: authorization, timeouts, the fence around writes, errors."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Final
from urllib.request import getproxies

import aiohttp

from backendpool.errors import SettingsError
from backendpool.k8s.access import Access
from backendpool.k8s.credentials import Credentials
from backendpool.k8s.request import ApiRequest, Document
from backendpool.k8s.responses import document_in, error_response, map_transport_errors

_BUFFER: Final = 2**21
"""Bytes of a response that are read ahead: watch events can be larger than aiohttp's default."""

Fence = Callable[[], AbstractContextManager[object]]
"""A context manager around each write: it exits with the response, or with the error if there is none."""


class Transport:
    """Sends requests with ``credentials``; ``timeout`` is in seconds, for each request.

    ``fence`` is entered around each write; if that raises, nothing is sent.
    """

    def __init__(self, credentials: Credentials, user_agent: str, timeout: float, fence: Fence) -> None:
        self.requests: Counter[str] = Counter()
        """Requests sent so far, by verb."""
        self.user_agent = user_agent
        self._credentials = credentials
        self._session = _session(credentials.current())
        self._timeout = timeout
        self._fence = fence

    async def close(self) -> None:
        await self._session.close()

    async def fetch(self, request: ApiRequest, validate: Callable[[Document], Document] = dict) -> Document:
        """Send a request and return the JSON document of the response, validated by ``validate``."""
        async with self.send(request, aiohttp.ClientTimeout(total=self._timeout)) as response:
            return validate(document_in(await response.read()))

    @asynccontextmanager
    async def send(self, request: ApiRequest, timeout: aiohttp.ClientTimeout) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and return the response while the context lasts; raises for a status of 400 or more."""
        with map_transport_errors(f"{request.method} {request.path}"):
            async with asyncio.timeout(self._timeout):
                response = await self._authorized(request, timeout)
            try:
                if response.status >= 400:
                    raise await error_response(response)
                yield response
            finally:
                response.close()

    async def _authorized(self, request: ApiRequest, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        """Send again if the token was rejected (401, so nothing was done) and there is a newer one."""
        response, authorization = await self._send(request, timeout)
        if response.status == 401 and await self._credentials.renew(authorization):
            response.close()
            response, _ = await self._send(request, timeout)
        return response

    async def _send(
        self, request: ApiRequest, timeout: aiohttp.ClientTimeout
    ) -> tuple[aiohttp.ClientResponse, str | None]:
        """Return the response, and the Authorization header that was sent."""
        access = self._credentials.current()
        headers = {"Accept": request.accept, "Content-Type": request.content_type, "User-Agent": self.user_agent}
        if access.authorization:
            headers["Authorization"] = access.authorization
        with nullcontext() if request.method == "GET" else self._fence():
            self.requests[request.verb] += 1
            response = await self._session.request(
                request.method,
                access.server + request.path,
                params=request.query,
                headers=headers,
                data=None if request.body is None else json.dumps(request.body),
                timeout=timeout,
                proxy=access.proxy,
                server_hostname=access.server_name,
            )
        return response, access.authorization


def _session(access: Access) -> aiohttp.ClientSession:
    """Raises :class:`SettingsError` if the certificates cannot be used."""
    try:
        tls = access.tls()
    except OSError as error:
        raise SettingsError(
            f"invalid certificates of the cluster ({error}): check the certificate entries of the kubeconfig"
        ) from error
    return aiohttp.ClientSession(
        # Each watch occupies a connection, so that a limit could deadlock.
        connector=aiohttp.TCPConnector(limit=0, ssl=tls),
        # With trust_env, aiohttp looks for a proxy and a .netrc in two threads before each request.
        trust_env=bool(getproxies()),
        read_bufsize=_BUFFER,
    )

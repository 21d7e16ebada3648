"""How one request gets to the API server and its answer back, whatever it asks for."""

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
from backendpool.k8s.failures import refusal, translated
from backendpool.k8s.request import Call, Document
from backendpool.k8s.shape import document_in

_BUFFER: Final = 2**21
"""Bytes of an answer that are read ahead: events of a watch can be larger than aiohttp's default."""

Fence = Callable[[], AbstractContextManager[object]]
"""Entered before a write is sent, and left with its answer, or by the error that came in place of one."""


class Transport:
    """Sends calls as who ``credentials`` say that we are; ``timeout`` is in seconds, for each request.

    ``fence`` is put around each request that writes; what it raises as it is entered is raised, and nothing is sent.
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

    async def document(self, call: Call, shape: Callable[[Document], Document] = dict) -> Document:
        """The answer to ``call``, whole, as ``shape`` wants it to be."""
        async with self.answer(call, aiohttp.ClientTimeout(total=self._timeout)) as response:
            return shape(document_in(await response.read()))

    @asynccontextmanager
    async def answer(self, call: Call, timeout: aiohttp.ClientTimeout) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to ``call``, if it is not a refusal; closed at the end, read or not."""
        with translated(f"{call.method} {call.path}"):
            async with asyncio.timeout(self._timeout):
                response = await self._authorized(call, timeout)
            try:
                if response.status >= 400:
                    raise await refusal(response)
                yield response
            finally:
                response.close()

    async def _authorized(self, call: Call, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        """Send, and send again if the token was refused and there is a newer one: 401 means that nothing was done."""
        response, authorization = await self._send(call, timeout)
        if response.status == 401 and await self._credentials.renew(authorization):
            response.close()
            response, _ = await self._send(call, timeout)
        return response

    async def _send(self, call: Call, timeout: aiohttp.ClientTimeout) -> tuple[aiohttp.ClientResponse, str | None]:
        """The response, and what was sent as Authorization."""
        access = self._credentials.current()
        headers = {"Accept": call.accept, "Content-Type": call.content_type, "User-Agent": self.user_agent}
        if access.authorization:
            headers["Authorization"] = access.authorization
        with nullcontext() if call.method == "GET" else self._fence():
            self.requests[call.verb] += 1
            response = await self._session.request(
                call.method,
                access.server + call.path,
                params=call.query,
                headers=headers,
                data=None if call.body is None else json.dumps(call.body),
                timeout=timeout,
                proxy=access.proxy,
                server_hostname=access.server_name,
            )
        return response, access.authorization


def _session(access: Access) -> aiohttp.ClientSession:
    """Raises :class:`SettingsError` where the certificates cannot be used."""
    try:
        tls = access.tls()
    except OSError as error:
        raise SettingsError(
            f"the cluster's certificates cannot be used ({error}): see the kubeconfig's certificate entries"
        ) from error
    return aiohttp.ClientSession(
        # Each watch holds a connection for itself, so that a limit would be a deadlock in waiting.
        connector=aiohttp.TCPConnector(limit=0, ssl=tls),
        # Asked to look for a proxy and a .netrc, aiohttp hands each request through two threads before it is sent.
        trust_env=bool(getproxies()),
        read_bufsize=_BUFFER,
    )

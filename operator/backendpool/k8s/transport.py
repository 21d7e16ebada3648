"""How one request gets to the API server and its answer back, whatever it asks for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext

import aiohttp

from backendpool.k8s.credentials import Credentials
from backendpool.k8s.failures import refusal, translated
from backendpool.k8s.request import Call, Document
from backendpool.k8s.shape import document_in

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
        self._client = credentials.client()
        self._client.user_agent = user_agent
        self._timeout = timeout
        self._fence = fence

    async def close(self) -> None:
        await self._client.close()

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
        method, url, headers, _, _ = await self._client.param_serialize(
            call.method,
            call.path,
            query_params=dict(call.query),
            header_params={"Accept": call.accept, "Content-Type": call.content_type},
            auth_settings=["BearerToken"],
        )
        with nullcontext() if call.method == "GET" else self._fence():
            self.requests[call.verb] += 1
            # Around param_serialize, which walks through all of a body for models and dates that are not there.
            answer = await self._client.rest_client.request(method, url, headers, call.body, _request_timeout=timeout)
        return answer.response, headers.get("authorization")

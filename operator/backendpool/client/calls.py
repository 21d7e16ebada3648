"""A call over a pool: what grpc.aio's calls of all forms offer, of whichever attempt counts.

While there is a backend, a call costs what grpc.aio's costs and little more: it is passed on, and looked at only once
it has failed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata

from backendpool.client.attempt import Native
from backendpool.client.attempts import Attempts
from backendpool.client.ended import CUT
from backendpool.client.outcome import error_of


class PoolCall(Attempts):
    """What the calls of all four forms have in common."""

    def cancelled(self) -> bool:
        call = self._call
        return call is not None and bool(call.cancelled()) and not self._is_cut(call)

    def done(self) -> bool:
        call = self._call
        return call is not None and bool(call.done()) and not self._is_repeated(call)

    async def initial_metadata(self) -> Metadata:
        metadata: Metadata = await (await self._answer(_begun)).initial_metadata()
        return metadata

    async def trailing_metadata(self) -> Metadata:
        metadata: Metadata = await (await self._answer(_ended)).trailing_metadata()
        return metadata

    async def code(self) -> StatusCode:
        code: StatusCode = await (await self._answer(_ended)).code()
        return code

    async def details(self) -> str:
        details: str = await (await self._answer(_ended)).details()
        return details

    async def debug_error_string(self) -> str:
        text: str = await (await self._answer(_ended)).debug_error_string()
        return text

    async def wait_for_connection(self) -> None:
        await self._perform(_connected)

    async def _answer(self, operation: Callable[[Native], Awaitable[object]]) -> Native:
        """The call that counts, once ``operation`` is done on it or it has failed for good."""
        if self._call is None or not self._settled:
            try:
                await self._follow(operation)
            except AioRpcError:
                self._settled = True
        if self._is_cut(self._call):
            self._call = CUT
        return self._call


async def _begun(call: Native) -> None:
    """Wait for the response's headers; a call that has failed by then is not known to have had any."""
    await call.initial_metadata()
    if call.done():
        await _ended(call)


async def _ended(call: Native) -> None:
    if await call.code() is not StatusCode.OK:
        raise error_of(call) or AssertionError


async def _connected(call: Native) -> None:
    await call.wait_for_connection()

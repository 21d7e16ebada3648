"""How a call ended, without waiting: grpc.aio has it by coroutines only, which return at once where a call is done.

Also whether it is connected, by a wait that always ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import grpc.aio
from grpc import StatusCode

T = TypeVar("T")


def now(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("a call that is done has its outcome")


def error_of(call: Any) -> grpc.aio.AioRpcError | None:
    """The error that ``call``, which is done, raises when it is awaited.

    None if it succeeded, or if an interceptor raised an error other than :class:`grpc.aio.AioRpcError`.
    """
    try:
        code = now(call.code())
    except Exception:  # noqa: BLE001  (the call raises it)
        return None
    if code is StatusCode.OK:
        return None
    return grpc.aio.AioRpcError(
        code,
        now(call.initial_metadata()),
        now(call.trailing_metadata()),
        now(call.details()),
        now(call.debug_error_string()),
    )


async def connects(stream: Any, ended: asyncio.Event) -> bool:
    """Wait until ``stream``, a call with a stream of requests, is connected.

    Returns False if it fails or ``ended`` is set before. ``wait_for_connection()`` of grpc.aio alone never returns if
    such a call is cancelled.
    """
    connected = asyncio.ensure_future(_is_connected(stream))
    waiting = asyncio.ensure_future(ended.wait())
    try:
        await asyncio.wait((connected, waiting), return_when=asyncio.FIRST_COMPLETED)
        return connected.done() and not connected.cancelled() and connected.result()
    finally:
        connected.cancel()
        waiting.cancel()


async def _is_connected(call: Any) -> bool:
    try:
        await call.wait_for_connection()
    except grpc.aio.AioRpcError:
        return False
    return True

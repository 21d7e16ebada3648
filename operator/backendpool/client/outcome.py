"""How a call ended, without waiting: grpc.aio has it by coroutines only, which return at once where a call is done."""

from __future__ import annotations

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
    """The error that whoever awaits ``call``, which is done, is raised; None where it succeeded."""
    code = now(call.code())
    if code is StatusCode.OK:
        return None
    return grpc.aio.AioRpcError(
        code,
        now(call.initial_metadata()),
        now(call.trailing_metadata()),
        now(call.details()),
        now(call.debug_error_string()),
    )

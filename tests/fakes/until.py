"""Polling in asyncio tests."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable


async def until(condition: Callable[[], object], timeout: float = 30.0, interval: float = 0.002) -> None:
    """Wait until ``condition`` returns something true, or an awaitable of it; fails after ``timeout`` seconds.

    The default timeout only allows for a busy machine: a test that is about time passes its own, or uses a fake clock.
    An ``interval`` of 0 checks at every turn of the event loop.
    """
    deadline = asyncio.get_running_loop().time() + timeout
    while not (found := await _value(condition)):
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not true within {timeout:g} s: {_source(condition)}; last value: {found!r}")
        await asyncio.sleep(interval)


async def _value(condition: Callable[[], object]) -> object:
    found = condition()
    return await found if inspect.isawaitable(found) else found


def _source(condition: Callable[[], object]) -> str:
    """Return the code of a lambda, or the name of a function."""
    try:
        return inspect.getsource(condition).strip() if condition.__name__ == "<lambda>" else condition.__qualname__
    except (AttributeError, OSError, TypeError):
        return repr(condition)

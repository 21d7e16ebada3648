"""Graceful shutdown on SIGTERM and SIGINT."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any


def stop_requested() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set. Call it in the main thread, which receives the signals.

    Call it before anything starts: an unhandled signal ends the program at once, or, in a container, where the program
    is process 1, is ignored.
    """
    stop = asyncio.Event()
    _handle_signals(stop.set)
    return stop


async def run_until_signalled(work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` and cancel it on SIGTERM or SIGINT; raises what ``work`` raises."""
    running = asyncio.create_task(work)
    # Once: a second cancellation would cut the cleanup short.
    _handle_signals(lambda: running.cancelling() or running.cancel())
    await asyncio.wait([running])
    if not running.cancelled():
        running.result()


def _handle_signals(handler: Callable[[], object]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, handler)

"""How our programs are asked to end."""

from __future__ import annotations

import asyncio
import signal


def stop_requested() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set; to be called in the main thread, which has the signals.

    Call it before anything starts: a signal that comes while nobody handles it ends the program at once, or, in a
    container, where the program is process 1, not at all.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop

"""Graceful shutdown on signals."""

from __future__ import annotations

import asyncio
import signal

import pytest

from backendpool.runtime.signals import run_until_signalled, stop_requested


async def test_second_signal_does_not_cut_the_cleanup_short() -> None:
    """A second signal does not interrupt the cleanup, which releases the Lease."""
    begun, end, ended = asyncio.Event(), asyncio.Event(), False

    async def work() -> None:
        nonlocal ended
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await end.wait()
            ended = True

    running = asyncio.create_task(run_until_signalled(work()))
    await begun.wait()
    for _ in range(2):
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(0.01)
    end.set()
    await running
    assert ended


async def test_failure_of_the_work_is_raised() -> None:
    """Without a signal, an error of the work ends the program."""

    async def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_until_signalled(work())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_sets_the_event(number: signal.Signals) -> None:
    """SIGTERM and SIGINT request a stop."""
    stop = stop_requested()
    signal.raise_signal(number)
    async with asyncio.timeout(5):
        await stop.wait()

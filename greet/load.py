"""A load generator that reports how many calls each pod answered, errors, and the first answer of each pod.

It calls the gateway over HTTP. If the URL is the target of a pool (``pool:///namespace/name``, ``lookaside://…``), it
calls the greet servers with the client library.

The demo and the e2e tests run it as a pod beside the gateway, so the host needs no route to pods. It prints one JSON
object per line and flushes each: the counts of every interval, and a summary at the end. SIGTERM and SIGINT end it
early, with the summary.

Calls start at a fixed rate (an open loop), so a slow answer does not delay the next calls. With ``rate`` 0, each call
starts when the previous one has finished. The host in the URL is resolved once, so that failures of DNS do not count.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from typing import Any

from backendpool.runtime.signals import stop_requested
from greet.callers import Call, Failed, by_gateway, by_pool, reached

POD = re.compile(r"from pod: name\(([^)]*)\)")

Print = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """``rate`` is in calls per second (0: one after another). The load ends after ``calls`` calls or ``seconds``.

    ``timeout`` applies to each call, and ``interval`` is the time between two lines; both are in seconds. Before the
    first call, the generator waits at most ``wait`` seconds until the gateway accepts connections.
    """

    url: str
    rate: float = 0.0
    calls: int | None = None
    seconds: float | None = None
    timeout: float = 10.0
    interval: float = 1.0
    wait: float = 0.0


@dataclass(slots=True)
class Tally:
    """Results of the calls so far."""

    pods: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    first_answer: dict[str, float] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    under_way: list[float] = field(default_factory=list)
    """Start times of the calls in flight, by :func:`time.monotonic`."""

    def answered(self, text: str, seconds: float, now: float) -> None:
        """Count an answer for the pod that it names; an answer without a pod name is an error."""
        match = POD.search(text)
        if match is None:
            self.errors["answer without a pod name"] += 1
            return
        self.pods[match[1]] += 1
        self.first_answer.setdefault(match[1], now)
        self.latencies.append(seconds)

    def failed(self, what: str) -> None:
        self.errors[what] += 1

    def waiting(self, seconds: float) -> int:
        """Return the number of calls that have been in flight for at least ``seconds``."""
        since = time.monotonic() - seconds
        return sum(begun <= since for begun in self.under_way)

    def summary(self) -> dict[str, Any]:
        """Return counts, Unix times of first answers, and latencies in milliseconds."""
        ordered = sorted(self.latencies)
        return {
            "ok": self.pods.total(),
            "failed": self.errors.total(),
            "pods": dict(sorted(self.pods.items())),
            "errors": dict(self.errors),
            "first_answer": self.first_answer,
            "latency_ms": {f"p{share}": _percentile(ordered, share) for share in (50, 99, 100)},
        }


def print_line(line: dict[str, Any]) -> None:
    """Print one JSON object to standard output and flush."""
    print(json.dumps(line), flush=True)


async def run(settings: LoadSettings, show: Print = print_line) -> Tally:
    """Generate the load, then show the ``summary``. Installs signal handlers, so call it in the main thread."""
    stop = stop_requested()
    tally = Tally()
    if _is_gateway(settings.url):
        await reached(settings.url, settings.wait)
    async with _caller(settings) as call:
        reporter = asyncio.create_task(_report(tally, settings.interval, show))
        try:
            await _send(call, settings, tally, stop)
        finally:
            reporter.cancel()
            await asyncio.gather(reporter, return_exceptions=True)
    show({"summary": tally.summary()})
    return tally


def _caller(settings: LoadSettings) -> AbstractAsyncContextManager[Call]:
    return (by_gateway if _is_gateway(settings.url) else by_pool)(settings.url, settings.timeout)


def _is_gateway(url: str) -> bool:
    return url.startswith(("http://", "https://"))


async def _send(call: Call, settings: LoadSettings, tally: Tally, stop: asyncio.Event) -> None:
    begun = time.monotonic()
    sent = 0
    async with asyncio.TaskGroup() as calls:
        while not stop.is_set() and not _is_over(settings, sent, time.monotonic() - begun):
            sent += 1
            if not settings.rate:
                await _count(call, tally)
                continue
            calls.create_task(_count(call, tally))
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), max(0.0, begun + sent / settings.rate - time.monotonic()))


def _is_over(settings: LoadSettings, sent: int, elapsed: float) -> bool:
    enough_calls = settings.calls is not None and sent >= settings.calls
    enough_time = settings.seconds is not None and elapsed >= settings.seconds
    return enough_calls or enough_time


async def _count(call: Call, tally: Tally) -> None:
    begun = time.monotonic()
    tally.under_way.append(begun)
    try:
        text = await call()
    except Failed as failure:
        tally.failed(str(failure))
    else:
        tally.answered(text, time.monotonic() - begun, time.time())
    finally:
        tally.under_way.remove(begun)


async def _report(tally: Tally, interval: float, show: Print) -> None:
    """Show the counts of each interval, and how many calls were in flight during all of it."""
    pods: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    while True:
        await asyncio.sleep(interval)
        answered, failed = tally.pods - pods, tally.errors - errors
        pods, errors = tally.pods.copy(), tally.errors.copy()
        line = {"time": time.time(), "pods": dict(sorted(answered.items())), "errors": dict(failed)}
        show(line | {"waiting": tally.waiting(interval)})


def _percentile(ordered: list[float], share: int) -> float | None:
    if not ordered:
        return None
    return round(1000 * ordered[min(len(ordered) - 1, len(ordered) * share // 100)], 2)

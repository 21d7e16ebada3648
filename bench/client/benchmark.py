"""The costs of the client library."""

from __future__ import annotations

from dataclasses import dataclass

from bench.client import backends, calls, gateways, updates
from bench.client.report import Results
from bench.common.command_line import say

_FEW = 3
"""Backends with which options and gateways are compared."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of a run: numbers of backends, rounds, calls and requests per round, and updates of the largest set of
    backends.
    """

    backends: tuple[int, ...] = (1, 3, 100, 1000)
    rounds: int = 100
    calls: int = 50
    changes: int = 50
    requests: int = 50


async def measure(sizes: Sizes) -> Results:
    """Run the benchmark and return its results."""
    most = sizes.backends[-1]
    found = {}
    async with backends.serving(_FEW) as port:
        for count in sizes.backends:
            for name, call in calls.FORMS.items():
                say(f"{name} calls over {count} backends")
                found[name, count] = await calls.by_size(port, count, call, sizes.rounds, sizes.calls)
        say("unary calls by options")
        options = await calls.by_options(port, _FEW, sizes.rounds, sizes.calls)
        say(f"changes of {most} endpoints")
        changes = await updates.by_change(port, most, sizes.changes)
        say("requests to gateways")
        requests = await gateways.by_mode(port, sizes.rounds, sizes.requests)
    return Results(found, options, (most, changes), requests)

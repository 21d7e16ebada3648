"""Tables of the client benchmark's results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.client.calls import BARE, IN_TURN, POOL
from bench.client.comparison import Cost, Ratio
from greet.settings import Mode


@dataclass(frozen=True, slots=True)
class Results:
    """The results of a run: calls by form and number of backends, unary calls by options, updates of a set of backends.

    ``requests`` are requests to gateways by mode.
    """

    calls: Mapping[tuple[str, int], Mapping[str, Cost]]
    options: Mapping[str, Cost]
    changes: tuple[int, Mapping[str, Cost]]
    requests: Mapping[str, Cost]


def tables(results: Results) -> str:
    """Return the whole report, in Markdown that is readable on a terminal too."""
    backends, changes = results.changes
    return "\n\n".join(
        (
            _table(
                ("call, backends", "bare channel, µs", "pool : bare", "in turn : bare", "pool : in turn"),
                [_call(f"{name}, {count}", costs) for (name, count), costs in results.calls.items()],
            ),
            _table(
                ("unary over a pool", "CPU, µs", "pool : in turn"),
                [
                    (name, _micro(cost), _ratio(cost.over(results.options[IN_TURN])))
                    for name, cost in results.options.items()
                ],
            ),
            _table(
                (f"update of {backends:,} endpoints, changed", "CPU, ms"),
                [(name, f"{1e3 * cost.median:.2f}") for name, cost in changes.items()],
            ),
            _table(
                ("a request to the gateway, by mode", "CPU, µs", "requests for a second of CPU", "over sticky"),
                [
                    (name, _micro(cost), f"{1 / cost.median:,.0f}", _ratio(cost.over(results.requests[Mode.STICKY])))
                    for name, cost in results.requests.items()
                ],
            ),
        )
    )


def _call(name: str, costs: Mapping[str, Cost]) -> Sequence[str]:
    bare, in_turn, pool = costs[BARE], costs[IN_TURN], costs[POOL]
    return name, _micro(bare), _ratio(pool.over(bare)), _ratio(in_turn.over(bare)), _ratio(pool.over(in_turn))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _micro(cost: Cost) -> str:
    return f"{1e6 * cost.median:.0f}"


def _ratio(ratio: Ratio) -> str:
    """Format the median and the quartiles."""
    return f"{ratio.median:.3f} ({ratio.low:.2f} to {ratio.high:.2f})"

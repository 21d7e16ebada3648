"""The benchmark of starts at its smallest size: it runs and reports."""

from __future__ import annotations

from bench.startup.benchmark import CLIENTS, SERVERS, measure, table


async def test_it_measures_each_program() -> None:
    """Every program becomes ready and has a line in the report."""
    results = await measure(rounds=1, idle=0.0)
    assert list(results) == [*SERVERS, *CLIENTS]
    assert all(one.cpu > 0 and one.memory > 0 for (one,) in results.values())
    assert all(one.stall > 0 for name in CLIENTS for one in results[name])
    assert len(table(results).splitlines()) == 2 + len(results)

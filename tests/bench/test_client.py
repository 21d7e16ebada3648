"""The client's benchmark at its smallest size: it runs and reports."""

from __future__ import annotations

from bench.client import report
from bench.client.benchmark import Sizes, measure
from bench.client.calls import BARE, FORMS, IN_TURN, POOL
from bench.client.comparison import Candidate, Cost, compare
from bench.client.gateways import HTTP_ALONE, MODES


async def test_it_measures_each_call_by_each_way() -> None:
    results = await measure(Sizes(backends=(1, 2), rounds=2, calls=10, changes=2, requests=10))
    assert results.calls.keys() == {(form, backends) for form in FORMS for backends in (1, 2)}
    for costs in results.calls.values():
        assert [(name, len(cost.rounds)) for name, cost in costs.items()] == [(BARE, 2), (IN_TURN, 2), (POOL, 2)]
    assert results.options.keys() == {IN_TURN, POOL, "idempotent", "LeastRequest", "outlier detection"}
    assert results.changes[0] == 2
    assert [len(cost.rounds) for cost in results.changes[1].values()] == [2, 2, 2]
    assert [(name, len(cost.rounds)) for name, cost in results.requests.items()] == [
        (HTTP_ALONE, 2),
        *((mode, 2) for mode in MODES),
    ]
    first, *others = report.tables(results).split("\n\n")
    assert [len(table.splitlines()) for table in (first, *others)] == [2 + 2 * len(FORMS), 2 + 5, 2 + 3, 2 + 4]


async def test_rounds_take_turns_and_leave_out_the_first() -> None:
    order: list[str] = []
    now = 0.0

    def candidate(name: str, each: float) -> Candidate:
        async def work(times: int) -> None:
            nonlocal now
            order.append(name)
            now += times * each * len(order)

        return Candidate(work, lambda: now)

    found = await compare({"one": candidate("one", 1.0), "other": candidate("other", 2.0)}, 2, 5)
    assert order == ["one", "other", "other", "one", "one", "other"]
    assert {name: cost.rounds for name, cost in found.items()} == {"one": [4.0, 5.0], "other": [6.0, 12.0]}


def test_a_ratio_is_the_median_of_the_rounds_with_where_half_of_them_are() -> None:
    ratio = Cost([2.0, 4.0, 12.0, 12.0, 10.0]).over(Cost([1.0, 1.0, 4.0, 2.0, 2.0]))
    assert (ratio.low, ratio.median, ratio.high) == (3.0, 4.0, 5.0)


def test_one_round_has_a_ratio_as_well() -> None:
    assert Cost([3.0]).over(Cost([2.0])).median == 1.5

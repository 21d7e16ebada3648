"""Who gets how much: reports, weights of the set, calls under way and slow start."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from grpc import StatusCode

from backendpool.api.load_balancing import LoadBalancing, Policy, Preference
from backendpool.client._options import Options
from backendpool.client._policies.slow_start import SlowStart
from backendpool.client._selection import PERIOD
from backendpool.client._subchannel import Subchannel
from backendpool.proto.orca.orca_pb2 import LoadReport
from tests.unit.client.selection.selected import OUTLIERS, Held, Selected, backends, near


def load(cpu: float) -> bytes:
    return LoadReport(cpu_utilization=cpu, rps_fractional=100).SerializeToString()


def reports(selected: Selected, loads: Iterable[tuple[Subchannel, float]], seconds: int) -> None:
    """Calls end each second, and tell these loads."""
    told = list(loads)
    for _ in range(seconds):
        for backend, cpu in told:
            selected.call(backend, trailer=load(cpu))
        selected.passes(PERIOD)


async def test_load_reports_weigh() -> None:
    """A backend that has four times as much of itself in use for as many calls gets a quarter of the calls."""
    async with backends("", "") as two:
        selected = Selected(two, LoadBalancing(Policy.WEIGHTED_ROUND_ROBIN))
        assert near(selected.shares(1000), {"0": 0.5, "1": 0.5})
        reports(selected, zip(two, (0.8, 0.2), strict=True), seconds=15)
        assert near(selected.shares(1000), {"0": 0.2, "1": 0.8})


async def test_weights_of_the_set_go_before_reports() -> None:
    """Where the set says that a backend can take three times as much, it gets that, whatever it reports."""
    async with backends("", "") as two:
        for backend, weight in zip(two, (1, 3), strict=True):
            backend.endpoint = replace(backend.endpoint, weight=weight)
        selected = Selected(two, LoadBalancing(Policy.WEIGHTED_ROUND_ROBIN))
        assert near(selected.shares(1000), {"0": 0.25, "1": 0.75})
        reports(selected, zip(two, (0.2, 0.8), strict=True), seconds=15)
        assert near(selected.shares(1000), {"0": 0.25, "1": 0.75})


async def test_weights_of_the_set_are_for_the_policy_that_weighs() -> None:
    """Whoever takes turns takes them alike, also where a slow start has shares of its own."""
    async with backends("", "") as two:
        two[0].endpoint = replace(two[0].endpoint, weight=9)
        two[1].endpoint = replace(two[1].endpoint, weight=1)
        selected = Selected(two, LoadBalancing(Policy.ROUND_ROBIN), Options(slow_start=SlowStart(5.0)))
        selected.passes(10)
        assert near(selected.shares(1000), {"0": 0.5, "1": 0.5})


async def test_reports_of_a_backend_that_left_are_forgotten() -> None:
    """Whoever has its place next begins without."""
    async with backends("", "") as two:
        selected = Selected(two, LoadBalancing(Policy.WEIGHTED_ROUND_ROBIN))
        reports(selected, zip(two, (0.8, 0.2), strict=True), seconds=15)
        selected.selection.replace(two[:1])
        selected.selection.replace(two)
        assert near(selected.shares(1000), {"0": 0.5, "1": 0.5})


async def test_least_request_avoids_a_busy_backend() -> None:
    """Of two, the one with calls under way gets none, until these are done."""
    async with backends("", "") as two:
        selected = Selected(two, LoadBalancing(Policy.LEAST_REQUEST))
        held: Any = Held()
        two[0].track(held)
        assert selected.shares(20) == {"1": 20}
        held.end()
        assert near(selected.shares(1000), {"0": 0.5, "1": 0.5})


async def test_new_backend_comes_to_its_share_slowly() -> None:
    """In a rotation, one that was just connected to gets a part of its turns, and all of them in the end."""
    async with backends("", "") as two:
        two[0].connected_at -= 3600
        selected = Selected(two, LoadBalancing(), Options(slow_start=SlowStart(window=100)))
        assert near(selected.shares(1100), {"0": 10 / 11, "1": 1 / 11})
        selected.passes(50)
        assert near(selected.shares(1500), {"0": 2 / 3, "1": 1 / 3})
        selected.passes(60)
        assert near(selected.shares(1000), {"0": 0.5, "1": 0.5})


async def test_options_go_before_what_the_pool_asks_for() -> None:
    """Policy, outliers and preference of the client hold, also when the pool's author changes his."""
    async with backends("a", "b", "b") as three:
        options = Options(policy=Policy.ROUND_ROBIN, outliers=OUTLIERS, prefer=Preference.ZONE, zone="b")
        selected = Selected(three, LoadBalancing(Policy.RANDOM), options)
        for policy in Policy:
            selected.selection.configure(LoadBalancing(policy, hash_header="user"))
            assert selected.selection.key_of is None
            assert selected.shares(20) == {"1": 10, "2": 10}
        selected.call(three[1], StatusCode.INTERNAL, times=20)
        selected.passes(OUTLIERS.interval)
        assert selected.selection.ejected(three[1])

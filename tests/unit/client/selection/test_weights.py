"""Shares by reports, weights of the endpoint set, calls in flight and slow start."""

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
    """End calls each second with these load reports."""
    told = list(loads)
    for _ in range(seconds):
        for backend, cpu in told:
            selected.call(backend, trailer=load(cpu))
        selected.passes(PERIOD)


async def test_load_reports_weigh() -> None:
    """A backend with four times the utilization at equal qps gets a quarter of the calls."""
    async with backends("", "") as two:
        selected = Selected(two, LoadBalancing(Policy.WEIGHTED_ROUND_ROBIN))
        assert near(selected.shares(1000), {"0": 0.5, "1": 0.5})
        reports(selected, zip(two, (0.8, 0.2), strict=True), seconds=15)
        assert near(selected.shares(1000), {"0": 0.2, "1": 0.8})


async def test_weights_of_the_set_go_before_reports() -> None:
    """Weights of the endpoint set override reported ones."""
    async with backends("", "") as two:
        for backend, weight in zip(two, (1, 3), strict=True):
            backend.endpoint = replace(backend.endpoint, weight=weight)
        selected = Selected(two, LoadBalancing(Policy.WEIGHTED_ROUND_ROBIN))
        assert near(selected.shares(1000), {"0": 0.25, "1": 0.75})
        reports(selected, zip(two, (0.2, 0.8), strict=True), seconds=15)
        assert near(selected.shares(1000), {"0": 0.25, "1": 0.75})


async def test_weights_of_the_set_are_for_the_policy_that_weighs() -> None:
    """Round robin ignores weights of the endpoint set, also during slow start."""
    async with backends("", "") as two:
        two[0].endpoint = replace(two[0].endpoint, weight=9)
        two[1].endpoint = replace(two[1].endpoint, weight=1)
        selected = Selected(two, LoadBalancing(Policy.ROUND_ROBIN), Options(slow_start=SlowStart(5.0)))
        selected.passes(10)
        assert near(selected.shares(1000), {"0": 0.5, "1": 0.5})


async def test_reports_of_a_backend_that_left_are_forgotten() -> None:
    """A backend that replaces a removed one starts without its reports."""
    async with backends("", "") as two:
        selected = Selected(two, LoadBalancing(Policy.WEIGHTED_ROUND_ROBIN))
        reports(selected, zip(two, (0.8, 0.2), strict=True), seconds=15)
        selected.selection.replace(two[:1])
        selected.selection.replace(two)
        assert near(selected.shares(1000), {"0": 0.5, "1": 0.5})


async def test_least_request_avoids_a_busy_backend() -> None:
    """Of two backends, the one with calls in flight gets none until they are done."""
    async with backends("", "") as two:
        selected = Selected(two, LoadBalancing(Policy.LEAST_REQUEST))
        held: Any = Held()
        two[0].track(held)
        assert selected.shares(20) == {"1": 20}
        held.end()
        assert near(selected.shares(1000), {"0": 0.5, "1": 0.5})


async def test_new_backend_comes_to_its_share_slowly() -> None:
    """During slow start, a new backend gets a growing part of its share."""
    async with backends("", "") as two:
        two[0].connected_at -= 3600
        selected = Selected(two, LoadBalancing(), Options(slow_start=SlowStart(window=100)))
        assert near(selected.shares(1100), {"0": 10 / 11, "1": 1 / 11})
        selected.passes(50)
        assert near(selected.shares(1500), {"0": 2 / 3, "1": 1 / 3})
        selected.passes(60)
        assert near(selected.shares(1000), {"0": 0.5, "1": 0.5})


async def test_options_go_before_what_the_pool_asks_for() -> None:
    """The client's policy, outlier detection and zone preference override the pool's, also after the spec changes."""
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

"""The client's own zone."""

from __future__ import annotations

from dataclasses import replace

from grpc import StatusCode

from backendpool.api.load_balancing import LoadBalancing, Preference
from backendpool.client._options import Options
from backendpool.client._subchannel import Connection
from tests.unit.client.selection.selected import OUTLIERS, Selected, backends, near


async def test_own_zone_comes_first_and_spills_over() -> None:
    """A zone with enough backends keeps all its calls; otherwise, some spill over."""
    async with backends("a", "a", "b", "b") as four:
        selected = Selected(four, LoadBalancing(prefer=Preference.ZONE), Options(zone="a"))
        assert selected.shares(20) == {"0": 10, "1": 10}
        four[0].connection = Connection.FAILED
        selected.selection.replace(four)
        assert near(selected.shares(3000), {"1": 0.7, "2": 0.15, "3": 0.15})
        four[1].connection = Connection.FAILED
        selected.selection.replace(four)
        assert selected.shares(20) == {"2": 10, "3": 10}


async def test_ejected_ones_count_as_gone_from_their_zone() -> None:
    """Ejected backends do not count for their zone, so calls spill over."""
    async with backends("a", "a", "b", "b") as four:
        balancing = LoadBalancing(prefer=Preference.ZONE, outliers=replace(OUTLIERS, max_ejection_percent=50))
        selected = Selected(four, balancing, Options(zone="a"))
        selected.call(four[0], StatusCode.INTERNAL, times=20)
        selected.passes(OUTLIERS.interval)
        assert near(selected.shares(3000), {"0": 0.0, "1": 0.7, "2": 0.15, "3": 0.15})


async def test_zones_are_nothing_to_a_client_that_is_in_none() -> None:
    """A client without a zone calls all backends, whatever the pool prefers."""
    async with backends("a", "b") as two:
        assert Selected(two, LoadBalancing(prefer=Preference.ZONE)).shares(20) == {"0": 10, "1": 10}

"""Who of the connected backends gets the next call: policy, ejections, zones and weights put together."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from grpc.aio import Metadata

from backendpool.balancing import Balancing, FailurePercentage, OutlierDetection, Policy, Preference
from backendpool.client.channels import Backend
from backendpool.client.ended import EndedCall
from backendpool.client.options import DEFAULT, Options
from backendpool.client.policies.load_report import TRAILER
from backendpool.client.policies.orca_pb2 import LoadReport
from backendpool.client.policies.slow_start import SlowStart
from backendpool.client.selection import PERIOD, Selection
from backendpool.endpoints import Endpoint

OUTLIERS = OutlierDetection(
    interval=10, base_ejection=30, failure_percentage=FailurePercentage(threshold=50, minimum_hosts=3, request_volume=5)
)


class Clock:
    """It stands still until a test turns it."""

    def __init__(self) -> None:
        # Backends note when they were connected to by the machine's own.
        self.now = time.monotonic()

    def __call__(self) -> float:
        return self.now


class Call(EndedCall):
    """A call that has ended, with a trailer if it is given one."""

    __slots__ = ("_trailer",)

    def __init__(self, code: StatusCode = StatusCode.OK, trailer: bytes | None = None) -> None:
        super().__init__(code, "")
        self._trailer = trailer

    async def trailing_metadata(self) -> Metadata:
        return Metadata() if self._trailer is None else Metadata((TRAILER, self._trailer))


class Held(Call):
    """A call that is under way until it is ended."""

    __slots__ = ("_callbacks",)

    def add_done_callback(self, callback: Any) -> None:
        self._callbacks = [callback]

    def end(self) -> None:
        for callback in self._callbacks:
            callback(self)


@asynccontextmanager
async def backends(*zones: str) -> AsyncIterator[tuple[Backend, ...]]:
    """Backends that nobody connects to, one for each of ``zones``, named by their place."""

    def dial(endpoint: Endpoint) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel("ipv4:127.0.0.1:1")

    made = tuple(
        Backend(Endpoint("127.0.0.1", 1, str(place), zone=zone), lambda _: None, dial, delay=3600)
        for place, zone in enumerate(zones)
    )
    yield made
    await asyncio.gather(*(backend.close(0) for backend in made))


class Selected:
    """A selection over all of ``backends``, by a clock of the test's."""

    def __init__(self, backends: tuple[Backend, ...], balancing: Balancing, options: Options = DEFAULT) -> None:
        self.clock = Clock()
        self.selection = Selection("ns/who", options, self.clock)
        self.selection.adopt(balancing)
        self.selection.replace(backends, backends)

    def shares(self, calls: int, key: bytes | None = None) -> Counter[str]:
        """Who is picked how often."""
        return Counter(self.selection.pick((), key).endpoint.pod_uid for _ in range(calls))

    def call(self, backend: Backend, code: StatusCode = StatusCode.OK, times: int = 1, **more: Any) -> None:
        for _ in range(times):
            ended: Any = Call(code, **more)
            backend.begun(ended)

    def passes(self, seconds: float) -> None:
        """Time, with the ticks that are due in it."""
        for _ in range(int(seconds / PERIOD)):
            self.clock.now += PERIOD
            self.selection.tick()


def near(counts: Counter[str], expected: dict[str, float]) -> bool:
    """Whether parts are as expected, by a tenth of all."""
    total = counts.total()
    return all(abs(counts[name] / total - part) < 0.1 for name, part in expected.items())


async def test_backend_that_fails_is_ejected_and_returns(caplog: pytest.LogCaptureFixture) -> None:
    """It gets no calls for its time, and then its share again; both is told, and counted."""
    caplog.set_level(logging.INFO, "backendpool.client")
    async with backends("", "", "") as three:
        selected = Selected(three, Balancing(outliers=OUTLIERS))
        for backend in three:
            selected.call(backend, times=5)
        selected.call(three[0], StatusCode.INTERNAL, times=20)
        assert selected.shares(30).keys() == {"0", "1", "2"}
        selected.passes(OUTLIERS.interval)
        assert [selected.selection.ejected(backend) for backend in three] == [True, False, False]
        assert selected.shares(30) == {"1": 15, "2": 15}
        selected.passes(OUTLIERS.base_ejection)
        assert selected.shares(30).keys() == {"1", "2"}
        selected.passes(OUTLIERS.interval)
        assert selected.shares(30) == {"0": 10, "1": 10, "2": 10}
        assert [backend.ejections for backend in three] == [1, 0, 0]
    assert [record.getMessage().split("backend ")[1] for record in caplog.records] == [
        "127.0.0.1:1 is ejected: 20 of its last 25 calls failed",
        "127.0.0.1:1 gets calls again",
    ]


async def test_calls_that_were_given_up_are_no_failures() -> None:
    """Who cancels a call says nothing of the backend that had it."""
    async with backends("", "", "") as three:
        selected = Selected(three, Balancing(outliers=OUTLIERS))
        selected.call(three[0], StatusCode.CANCELLED, times=100)
        selected.passes(OUTLIERS.interval)
        assert not selected.selection.ejected(three[0])


async def test_ejection_outlives_a_change_of_the_set() -> None:
    """Who comes or goes beside it does not let it in again; that it goes itself does."""
    async with backends("", "", "", "") as four:
        selected = Selected(four[:3], Balancing(outliers=OUTLIERS))
        selected.call(four[0], StatusCode.INTERNAL, times=20)
        selected.passes(OUTLIERS.interval)
        selected.selection.replace(four, four)
        assert selected.shares(30).keys() == {"1", "2", "3"}
        selected.selection.replace(four[1:], four[1:])
        selected.selection.replace(four, four)
        assert selected.shares(40).keys() == {"0", "1", "2", "3"}


async def test_calls_are_watched_only_where_something_goes_by_them() -> None:
    """Policies that do not ask, ask for nothing."""
    async with backends("") as one:
        for balancing, watches in (
            (Balancing(), False),
            (Balancing(Policy.RANDOM), False),
            (Balancing(Policy.CONSISTENT_HASH, hash_header="user"), False),
            (Balancing(Policy.LEAST_REQUEST), True),
            (Balancing(Policy.WEIGHTED_ROUND_ROBIN), True),
            (Balancing(outliers=OUTLIERS), True),
        ):
            Selected(one, balancing)
            assert (one[0].observer is not None) is watches, balancing


def load(cpu: float) -> bytes:
    return LoadReport(cpu_utilization=cpu, rps_fractional=100).SerializeToString()


def reports(selected: Selected, loads: Iterable[tuple[Backend, float]], seconds: int) -> None:
    """Calls end each second, and tell these loads."""
    told = list(loads)
    for _ in range(seconds):
        for backend, cpu in told:
            selected.call(backend, trailer=load(cpu))
        selected.passes(PERIOD)


async def test_load_reports_weigh() -> None:
    """A backend that has four times as much of itself in use for as many calls gets a quarter of the calls."""
    async with backends("", "") as two:
        selected = Selected(two, Balancing(Policy.WEIGHTED_ROUND_ROBIN))
        assert near(selected.shares(1000), {"0": 0.5, "1": 0.5})
        reports(selected, zip(two, (0.8, 0.2), strict=True), seconds=15)
        assert near(selected.shares(1000), {"0": 0.2, "1": 0.8})


async def test_weights_of_the_set_go_before_reports() -> None:
    """Where the set says that a backend can take three times as much, it gets that, whatever it reports."""
    async with backends("", "") as two:
        for backend, weight in zip(two, (1, 3), strict=True):
            backend.endpoint = replace(backend.endpoint, weight=weight)
        selected = Selected(two, Balancing(Policy.WEIGHTED_ROUND_ROBIN))
        assert near(selected.shares(1000), {"0": 0.25, "1": 0.75})
        reports(selected, zip(two, (0.2, 0.8), strict=True), seconds=15)
        assert near(selected.shares(1000), {"0": 0.25, "1": 0.75})


async def test_weights_of_the_set_are_for_the_policy_that_weighs() -> None:
    """Whoever takes turns takes them alike, also where a slow start has shares of its own."""
    async with backends("", "") as two:
        two[0].endpoint = replace(two[0].endpoint, weight=9)
        two[1].endpoint = replace(two[1].endpoint, weight=1)
        selected = Selected(two, Balancing(Policy.ROUND_ROBIN), Options(slow_start=SlowStart(5.0)))
        selected.passes(10)
        assert near(selected.shares(1000), {"0": 0.5, "1": 0.5})


async def test_reports_of_a_backend_that_left_are_forgotten() -> None:
    """Whoever has its place next begins without."""
    async with backends("", "") as two:
        selected = Selected(two, Balancing(Policy.WEIGHTED_ROUND_ROBIN))
        reports(selected, zip(two, (0.8, 0.2), strict=True), seconds=15)
        selected.selection.replace(two[:1], two[:1])
        selected.selection.replace(two, two)
        assert near(selected.shares(1000), {"0": 0.5, "1": 0.5})


async def test_least_request_avoids_a_busy_backend() -> None:
    """Of two, the one with calls under way gets none, until these are done."""
    async with backends("", "") as two:
        selected = Selected(two, Balancing(Policy.LEAST_REQUEST))
        held: Any = Held()
        two[0].begun(held)
        assert selected.shares(20) == {"1": 20}
        held.end()
        assert near(selected.shares(1000), {"0": 0.5, "1": 0.5})


async def test_fast_failures_attract_no_load() -> None:
    """By calls under way, who refuses each call at once would be the least busy of all."""
    async with backends("", "") as two:
        selected = Selected(two, Balancing(Policy.LEAST_REQUEST))
        selected.call(two[0], StatusCode.UNAVAILABLE, times=5)
        held: Any = Held()
        two[1].begun(held)
        assert selected.shares(20) == {"1": 20}


async def test_own_zone_comes_first_and_spills_over() -> None:
    """A zone with enough of the pool keeps all its calls; one with too little of it keeps what it can take."""
    async with backends("a", "a", "b", "b") as four:
        selected = Selected(four, Balancing(prefer=Preference.ZONE), Options(zone="a"))
        assert selected.shares(20) == {"0": 10, "1": 10}
        selected.selection.replace(four[1:], four)
        assert near(selected.shares(3000), {"1": 0.7, "2": 0.15, "3": 0.15})
        selected.selection.replace(four[2:], four)
        assert selected.shares(20) == {"2": 10, "3": 10}


async def test_ejected_ones_count_as_gone_from_their_zone() -> None:
    """So calls spill over to where they succeed."""
    async with backends("a", "a", "b", "b") as four:
        balancing = Balancing(prefer=Preference.ZONE, outliers=replace(OUTLIERS, max_ejection_percent=50))
        selected = Selected(four, balancing, Options(zone="a"))
        selected.call(four[0], StatusCode.INTERNAL, times=20)
        selected.passes(OUTLIERS.interval)
        assert near(selected.shares(3000), {"0": 0.0, "1": 0.7, "2": 0.15, "3": 0.15})


async def test_zones_are_nothing_to_a_client_that_is_in_none() -> None:
    """It calls all, whatever the pool's author prefers."""
    async with backends("a", "b") as two:
        assert Selected(two, Balancing(prefer=Preference.ZONE)).shares(20) == {"0": 10, "1": 10}


async def test_new_backend_comes_to_its_share_slowly() -> None:
    """In a rotation, one that was just connected to gets a part of its turns, and all of them in the end."""
    async with backends("", "") as two:
        two[0].connected_at -= 3600
        selected = Selected(two, Balancing(), Options(slow_start=SlowStart(window=100)))
        assert near(selected.shares(1100), {"0": 10 / 11, "1": 1 / 11})
        selected.passes(50)
        assert near(selected.shares(1500), {"0": 2 / 3, "1": 1 / 3})
        selected.passes(60)
        assert near(selected.shares(1000), {"0": 0.5, "1": 0.5})


async def test_options_go_before_what_the_pool_asks_for() -> None:
    """Policy, outliers and preference of the client hold, also when the pool's author changes his."""
    async with backends("a", "b", "b") as three:
        options = Options(policy=Policy.ROUND_ROBIN, outliers=OUTLIERS, prefer=Preference.ZONE, zone="b")
        selected = Selected(three, Balancing(Policy.RANDOM), options)
        for policy in Policy:
            selected.selection.adopt(Balancing(policy, hash_header="user"))
            assert selected.selection.key_of is None
            assert selected.shares(20) == {"1": 10, "2": 10}
        selected.call(three[1], StatusCode.INTERNAL, times=20)
        selected.passes(OUTLIERS.interval)
        assert selected.selection.ejected(three[1])


async def test_change_of_policy_keeps_ejections() -> None:
    """Who spreads calls otherwise from now on still knows who fails."""
    async with backends("", "", "") as three:
        selected = Selected(three, Balancing(outliers=OUTLIERS))
        selected.call(three[0], StatusCode.INTERNAL, times=20)
        selected.passes(OUTLIERS.interval)
        selected.selection.adopt(Balancing(Policy.RANDOM, outliers=OUTLIERS))
        assert selected.shares(50).keys() == {"1", "2"}


HASHED = Balancing(Policy.CONSISTENT_HASH, hash_header="User")


@pytest.mark.parametrize(
    ("metadata", "key"),
    [
        ((("user", "ada"),), b"ada"),
        (Metadata(("other", "x"), ("user", "ada")), b"ada"),
        ((("user", "ada"), ("user", "bob")), b"ada,bob"),
        ((), None),
        (None, None),
    ],
)
async def test_key_is_what_the_pools_header_says(metadata: Any, key: bytes | None) -> None:
    """Metadata keys are lower case, however the pool's author writes them; several values are one (gRFC A42)."""
    async with backends("") as one:
        key_of = Selected(one, HASHED).selection.key_of
        assert key_of is not None
        assert key_of("/test.Who/Are", metadata) == key


async def test_key_is_what_the_callable_says() -> None:
    """It sees method and metadata, and goes before the pool's header; texts and bytes are the same."""
    async with backends("") as one:
        by = Options(hash_key=lambda method, metadata: metadata.get("tenant", method))
        key_of = Selected(one, HASHED, by).selection.key_of
        assert key_of is not None
        assert key_of("/test.Who/Are", None) == b"/test.Who/Are"
        assert key_of("/test.Who/Are", (("tenant", b"t"), ("user", "ada"))) == b"t"


async def test_calls_of_one_key_go_to_one_backend() -> None:
    """As long as it is there, and back when it is there again; calls without a key go anywhere."""
    async with backends("", "", "") as three:
        selected = Selected(three, HASHED)
        (owner,) = selected.shares(20, b"ada")
        rest = tuple(backend for backend in three if backend.endpoint.pod_uid != owner)
        selected.selection.replace(rest, three)
        (heir,) = selected.shares(20, b"ada")
        assert heir != owner
        selected.selection.replace(three, three)
        assert selected.shares(20, b"ada") == {owner: 20}
        assert selected.shares(200).keys() == {"0", "1", "2"}

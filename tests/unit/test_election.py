"""Leader election: one writer at a time, whoever pauses, dies or is cut off."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from backendpool.cluster.api import Api
from backendpool.cluster.resources import Resource
from backendpool.election import ElectionTiming, Elector
from backendpool.errors import ClusterError, LeadershipLost, NotLeading, Unreachable
from tests.unit.lease_server import Clock, LeaseServer
from tests.unit.wall_clock import HOUR, WallClock

TIMING = ElectionTiming(duration=1, renewal=0.1, retry=0.02, arrival=0.2)


@pytest.fixture
def server() -> LeaseServer:
    return LeaseServer()


@asynccontextmanager
async def candidate(server: LeaseServer, identity: str, clock: Clock | None = None) -> AsyncIterator[Elector]:
    elector = Elector(cast("Api", server), "ops", "lease", identity, TIMING, clock or Clock())
    async with following([elector]):
        yield elector


@asynccontextmanager
async def following(electors: Sequence[Elector]) -> AsyncIterator[None]:
    watches = [asyncio.create_task(elector.watch()) for elector in electors]
    try:
        yield
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)


async def within(seconds: float, elector: Elector) -> None:
    await asyncio.wait_for(elector.win(), seconds)


async def test_first_candidate_leads_at_once(server: LeaseServer) -> None:
    """Nobody waits for a Lease that nobody holds."""
    async with candidate(server, "a") as a:
        await within(0.5, a)
        a.check()
        assert server.holder == "a"


async def test_second_candidate_stands_by(server: LeaseServer) -> None:
    """While the holder renews, another neither leads nor may write, however long it waits."""
    async with candidate(server, "a") as a, candidate(server, "b") as b:
        await within(0.5, a)
        holding = asyncio.create_task(a.hold())
        with pytest.raises(TimeoutError):
            await within(2.5 * TIMING.duration, b)
        with pytest.raises(NotLeading):
            b.check()
        holding.cancel()


async def test_lease_given_back_is_taken_at_once(server: LeaseServer) -> None:
    """A holder that leaves in good order costs no waiting."""
    async with candidate(server, "a") as a, candidate(server, "b") as b:
        await within(0.5, a)
        winning = asyncio.create_task(b.win())
        await asyncio.sleep(0.05)
        await a.release()
        await asyncio.wait_for(winning, 0.3)
        assert server.holder == "b"
        with pytest.raises(NotLeading):
            a.check()


async def test_renewal_cut_short_does_not_cost_the_hand_over(server: LeaseServer) -> None:
    """Asked to end between a renewal and its answer, the holder gives back what that renewal made of the Lease."""
    async with candidate(server, "a") as a, candidate(server, "b") as b:
        await within(0.5, a)
        winning, holding = asyncio.create_task(b.win()), asyncio.create_task(a.hold())
        server.mute = True
        await asyncio.sleep(1.5 * TIMING.renewal)
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
        server.mute = False
        await a.release()
        await asyncio.wait_for(winning, 0.3)
        assert server.holder == "b"


async def test_lost_lease_is_not_given_back(server: LeaseServer) -> None:
    """Who has it by now keeps it, whatever the former holder believed as it ended."""
    async with candidate(server, "a") as a:
        await within(0.5, a)
        assert server.lease is not None
        taken = copy.deepcopy(server.lease)
        taken["spec"]["holderIdentity"] = "b"
        await server.replace(cast("Resource", None), taken)
        await a.release()
        assert server.holder == "b"


async def test_lease_is_not_given_back_while_a_write_may_be_under_way(server: LeaseServer) -> None:
    """A write that was cut short may still arrive: nobody else leads until it cannot any more."""
    clock = Clock()
    async with candidate(server, "a", clock) as a:
        await within(0.5, a)
        with pytest.raises(Unreachable), a.writing():
            raise Unreachable("no answer in time")
        await a.release()
        assert server.holder == "a"
        with pytest.raises(NotLeading):
            a.check()


async def test_lease_is_given_back_after_what_was_answered_or_is_long_ago(server: LeaseServer) -> None:
    """Writes that ended well do not hold a hand-over up, nor does one that cannot arrive any more."""
    clock = Clock()
    async with candidate(server, "a", clock) as a:
        await within(0.5, a)
        with pytest.raises(Unreachable), a.writing():
            raise Unreachable("no answer in time")
        clock.ahead = 1.1 * TIMING.arrival
        with a.writing():
            pass
        await a.release()
        assert server.holder == ""


async def test_closed_fence_lets_nothing_through(server: LeaseServer) -> None:
    """Without the Lease, what stands behind the fence is not even begun."""
    async with candidate(server, "a") as a:
        with pytest.raises(NotLeading), a.writing():
            pytest.fail("begun")


async def test_lease_taken_without_an_answer_is_known_for_ones_own(server: LeaseServer) -> None:
    """A candidate whose winning write was not answered leads as soon as it sees that it has won."""
    async with candidate(server, "a") as a:
        server.mute = True
        with pytest.raises(TimeoutError):
            await within(0.1, a)
        assert server.holder == "a"
        server.mute = False
        await within(0.5 * TIMING.duration, a)


async def test_candidate_whose_watch_is_dead_takes_over(server: LeaseServer) -> None:
    """What it knows of the Lease is old: refused for that, it reads what the Lease is and counts from there."""
    async with candidate(server, "a") as a, candidate(server, "b") as b:
        await within(0.5, a)
        winning, holding = asyncio.create_task(b.win()), asyncio.create_task(a.hold())
        await asyncio.sleep(0.5 * TIMING.renewal)
        server.go_silent()
        await asyncio.sleep(0.5 * TIMING.duration)
        holding.cancel()
        await asyncio.wait_for(winning, 2.5 * TIMING.duration)
        assert server.holder == "b"


async def test_silent_watch_on_the_lease_is_begun_anew(server: LeaseServer) -> None:
    """The holder renews every few moments: silence says that the connection is dead, long before a bookmark is due."""
    electors = [
        Elector(cast("Api", server), "ops", "lease", identity, replace(TIMING, duration=60, stall=0.2))
        for identity in ("a", "b")
    ]
    async with following(electors):
        a, b = electors
        await within(0.5, a)
        winning = asyncio.create_task(b.win())
        await asyncio.sleep(0.05)
        server.go_silent()
        await a.release()
        await asyncio.wait_for(winning, 5)


async def test_dead_holder_is_succeeded_when_its_lease_ends(server: LeaseServer) -> None:
    """Not before its duration, and soon after."""
    async with candidate(server, "a") as a, candidate(server, "b") as b:
        await within(0.5, a)
        begun = asyncio.get_running_loop().time()
        await within(2 * TIMING.duration, b)
        assert asyncio.get_running_loop().time() - begun >= 0.9 * TIMING.duration
        assert server.lease is not None
        assert server.lease["spec"]["leaseTransitions"] == 1


async def test_paused_leader_never_writes_again(server: LeaseServer) -> None:
    """A leader that wakes after its Lease ended is refused its first write, and ends."""
    clock = Clock()
    async with candidate(server, "a", clock) as a:
        await within(0.5, a)
        clock.ahead = 10 * TIMING.duration
        with pytest.raises(NotLeading):
            a.check()
        with pytest.raises(LeadershipLost):
            await asyncio.wait_for(a.hold(), 1)


async def test_paused_leader_leaves_its_successor_alone(server: LeaseServer) -> None:
    """A machine that slept past the Lease wakes to another leader: the old one ends without a request."""
    clock = Clock()
    async with candidate(server, "a", clock) as a, candidate(server, "b") as b:
        await within(0.5, a)
        await within(2 * TIMING.duration, b)
        clock.ahead = 10 * TIMING.duration
        lease = copy.deepcopy(server.lease)
        server.requests = 0
        with pytest.raises(LeadershipLost):
            await asyncio.wait_for(a.hold(), 1)
        await a.release()
        with pytest.raises(NotLeading):
            a.check()
        assert (server.requests, server.lease) == (0, lease)


async def test_time_that_the_machine_slept_counts(server: LeaseServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock that most programs measure by stands still in a suspended machine, and the Lease does not."""
    elector = Elector(cast("Api", server), "ops", "lease", "a", ElectionTiming(duration=60, arrival=1))
    async with following([elector]):
        await within(5, elector)
        elector.check()
        real, slept = time.clock_gettime, {time.CLOCK_BOOTTIME: 61.0}
        monkeypatch.setattr(time, "clock_gettime", lambda clock: real(clock) + slept.get(clock, 0.0))
        with pytest.raises(NotLeading):
            elector.check()
        assert not elector.leading


async def test_wall_clock_that_is_set_changes_nothing(server: LeaseServer, wall_clock: WallClock) -> None:
    """By hours forth and back, by a leap second: the leader leads on, and the candidate stands by."""
    electors = [Elector(cast("Api", server), "ops", "lease", identity, TIMING) for identity in ("a", "b")]
    async with following(electors):
        a, b = electors
        await within(0.5, a)
        holding, winning = asyncio.create_task(a.hold()), asyncio.create_task(b.win())
        for jump in (HOUR, -2 * HOUR, HOUR, 1.0, -1.0):
            wall_clock.move(jump)
            await asyncio.sleep(0.5 * TIMING.duration)
            a.check()
            assert not holding.done()
            assert not b.leading
        winning.cancel()
        holding.cancel()


@pytest.mark.parametrize("ahead", [-5 * HOUR, 5 * HOUR])
async def test_clock_of_the_holder_does_not_count(server: LeaseServer, ahead: float) -> None:
    """A renewal holds for its duration from when it was seen, be it hours old or from the future by its own words."""
    theirs = datetime.now(UTC) + timedelta(seconds=ahead)
    spec = {"holderIdentity": "b", "leaseDurationSeconds": 1, "renewTime": theirs.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
    lease = {"metadata": {"namespace": "ops", "name": "lease"}, "spec": spec}
    held = await server.create(cast("Resource", None), lease)
    async with following([elector := Elector(cast("Api", server), "ops", "lease", "a", TIMING)]):
        begun = asyncio.get_running_loop().time()
        winning = asyncio.create_task(elector.win())
        await asyncio.sleep(0.6)
        await server.replace(cast("Resource", None), held)
        await asyncio.wait_for(winning, 5)
        assert asyncio.get_running_loop().time() - begun >= 1.5, "from the second time that it was seen to change"


async def test_no_write_that_might_arrive_too_late(server: LeaseServer) -> None:
    """The fence closes one request's time before the Lease ends."""
    clock = Clock()
    async with candidate(server, "a", clock) as a:
        await within(0.5, a)
        clock.ahead = TIMING.duration - TIMING.arrival
        assert a.leading
        with pytest.raises(NotLeading):
            a.check()


async def test_leader_survives_a_short_outage(server: LeaseServer) -> None:
    """A renewal that fails is tried again while the Lease holds."""
    async with candidate(server, "a") as a:
        await within(0.5, a)
        holding = asyncio.create_task(a.hold())
        server.away = True
        await asyncio.sleep(0.5 * TIMING.duration)
        server.away = False
        await asyncio.sleep(TIMING.duration)
        assert not holding.done()
        a.check()
        holding.cancel()


async def test_leader_cut_off_ends(server: LeaseServer) -> None:
    """A leader that cannot renew for the Lease's duration gives up, for another leads by then."""
    async with candidate(server, "a") as a:
        await within(0.5, a)
        server.away = True
        with pytest.raises(LeadershipLost):
            await asyncio.wait_for(a.hold(), 2 * TIMING.duration)


async def test_lease_taken_by_hand_is_lost(server: LeaseServer) -> None:
    """Whoever writes another holder into the Lease ends the leader."""
    async with candidate(server, "a") as a:
        await within(0.5, a)
        assert server.lease is not None
        taken = copy.deepcopy(server.lease)
        taken["spec"]["holderIdentity"] = "b"
        await server.replace(cast("Resource", None), taken)
        with pytest.raises(LeadershipLost):
            await asyncio.wait_for(a.hold(), 1)


async def test_foreign_touch_does_not_end_the_leader(server: LeaseServer) -> None:
    """An annotation on the Lease is a conflict for the renewal, and no reason to stop."""
    async with candidate(server, "a") as a:
        await within(0.5, a)
        assert server.lease is not None
        await server.replace(cast("Resource", None), copy.deepcopy(server.lease))
        holding = asyncio.create_task(a.hold())
        await asyncio.sleep(1.5 * TIMING.duration)
        assert not holding.done()
        a.check()
        holding.cancel()


async def test_failed_release_is_no_failure(server: LeaseServer) -> None:
    """When the API server is away at the end, the Lease ends by itself."""
    async with candidate(server, "a") as a:
        await within(0.5, a)
        server.away = True
        await a.release()
        assert not a.leading


async def test_many_candidates_one_leader(server: LeaseServer) -> None:
    """However many race for a free Lease, one wins."""
    async with candidate(server, "a") as a, candidate(server, "b") as b, candidate(server, "c") as c:
        races = [asyncio.create_task(one.win()) for one in (a, b, c)]
        await asyncio.sleep(0.3)
        assert sum(one.leading for one in (a, b, c)) == 1
        for race in races:
            race.cancel()
        await asyncio.gather(*races, return_exceptions=True)


def test_errors_are_of_the_right_kind() -> None:
    """A fenced write is retried like any failed request; lost leadership ends the process."""
    assert issubclass(NotLeading, ClusterError)
    assert not issubclass(LeadershipLost, ClusterError)

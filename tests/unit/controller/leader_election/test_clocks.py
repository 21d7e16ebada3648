"""Leader election: paused processes, suspended machines and clock changes."""

from __future__ import annotations

import asyncio
import copy
import time
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from backendpool.controller.leader_election import ElectionTiming, LeaderElection
from backendpool.errors import LeadershipLost, NotLeading
from backendpool.k8s.client import Api
from backendpool.k8s.resources import Resource
from tests.fakes.clock import HOUR, WallClock
from tests.fakes.objects import lease
from tests.unit.controller.leader_election.candidates import TIMING, candidate, following, within
from tests.unit.controller.leader_election.lease_server import Clock, LeaseServer


@pytest.mark.fake_clock
async def test_paused_leader_never_writes_again(server: LeaseServer) -> None:
    """A leader that resumes after its Lease has expired fails its first write and exits."""
    clock = Clock()
    async with candidate(server, "a", clock) as a:
        await within(0.5, a)
        clock.ahead = 10 * TIMING.lease_duration
        with pytest.raises(NotLeading):
            a.assert_leader()
        with pytest.raises(LeadershipLost):
            await asyncio.wait_for(a.renew_until_lost(), 1)


@pytest.mark.fake_clock
async def test_paused_leader_leaves_its_successor_alone(server: LeaseServer) -> None:
    """A leader that resumes while another leads exits without sending a request."""
    clock = Clock()
    async with candidate(server, "a", clock) as a, candidate(server, "b") as b:
        await within(0.5, a)
        await within(2 * TIMING.lease_duration, b)
        clock.ahead = 10 * TIMING.lease_duration
        before = copy.deepcopy(server.lease)
        server.requests = 0
        with pytest.raises(LeadershipLost):
            await asyncio.wait_for(a.renew_until_lost(), 1)
        await a.release()
        with pytest.raises(NotLeading):
            a.assert_leader()
        assert (server.requests, server.lease) == (0, before)


async def test_time_that_the_machine_slept_counts(server: LeaseServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time while the machine is suspended counts, which the usual monotonic clock leaves out."""
    elector = LeaderElection(
        cast("Api", server), "ops", "lease", "a", ElectionTiming(lease_duration=60, request_timeout=1)
    )
    async with following([elector]):
        await within(5, elector)
        elector.assert_leader()
        real, slept = time.clock_gettime, {time.CLOCK_BOOTTIME: 61.0}
        monkeypatch.setattr(time, "clock_gettime", lambda clock: real(clock) + slept.get(clock, 0.0))
        with pytest.raises(NotLeading):
            elector.assert_leader()
        assert not elector.leading


async def test_wall_clock_that_is_set_changes_nothing(server: LeaseServer, wall_clock: WallClock) -> None:
    """Setting the wall clock, even by hours, neither ends the leader nor lets the candidate acquire the Lease."""
    electors = [LeaderElection(cast("Api", server), "ops", "lease", identity, TIMING) for identity in ("a", "b")]
    async with following(electors):
        a, b = electors
        await within(0.5, a)
        holding, winning = asyncio.create_task(a.renew_until_lost()), asyncio.create_task(b.acquire())
        for jump in (HOUR, -2 * HOUR, HOUR, 1.0, -1.0):
            wall_clock.move(jump)
            await asyncio.sleep(0.5 * TIMING.lease_duration)
            a.assert_leader()
            assert not holding.done()
            assert not b.leading
        winning.cancel()
        holding.cancel()


@pytest.mark.parametrize("ahead", [-5 * HOUR, 5 * HOUR])
async def test_clock_of_the_holder_does_not_count(server: LeaseServer, ahead: float) -> None:
    """A renewal counts from when the candidate observed it, whatever timestamp the holder wrote."""
    theirs = datetime.now(UTC) + timedelta(seconds=ahead)
    held = await server.create(cast("Resource", None), lease("b", renewed=theirs, duration=1))
    async with following([elector := LeaderElection(cast("Api", server), "ops", "lease", "a", TIMING)]):
        begun = asyncio.get_running_loop().time()
        winning = asyncio.create_task(elector.acquire())
        await asyncio.sleep(0.6)
        await server.replace(cast("Resource", None), held)
        await asyncio.wait_for(winning, 5)
        assert asyncio.get_running_loop().time() - begun >= 1.5, "from the second time that it was seen to change"


@pytest.mark.fake_clock
async def test_no_write_that_might_arrive_too_late(server: LeaseServer) -> None:
    """The fence closes one request timeout before the Lease expires."""
    clock = Clock()
    async with candidate(server, "a", clock) as a:
        await within(0.5, a)
        clock.ahead = TIMING.lease_duration - TIMING.request_timeout
        assert a.leading
        with pytest.raises(NotLeading):
            a.assert_leader()

"""Leader election under faults: at most one writer, whatever fails."""

from __future__ import annotations

import asyncio
import copy
from dataclasses import replace
from typing import cast

import pytest

from backendpool.controller.leader_election import LeaderElection
from backendpool.errors import LeadershipLost
from backendpool.k8s.client import Api
from backendpool.k8s.resources import Resource
from tests.unit.controller.leader_election.candidates import TIMING, candidate, following, within
from tests.unit.controller.leader_election.lease_server import LeaseServer

pytestmark = pytest.mark.fake_clock


async def test_lease_taken_without_an_answer_is_known_for_ones_own(server: LeaseServer) -> None:
    """A candidate whose winning write got no response leads as soon as it observes that it won."""
    async with candidate(server, "a") as a:
        server.mute = True
        with pytest.raises(TimeoutError):
            await within(0.1, a)
        assert server.holder == "a"
        server.mute = False
        await within(0.5 * TIMING.lease_duration, a)


async def test_candidate_whose_watch_is_dead_takes_over(server: LeaseServer) -> None:
    """A candidate with a stale view reads the Lease after a conflict and measures from there."""
    async with candidate(server, "a") as a, candidate(server, "b") as b:
        await within(0.5, a)
        winning, holding = asyncio.create_task(b.acquire()), asyncio.create_task(a.renew_until_lost())
        await asyncio.sleep(0.5 * TIMING.renew_interval)
        server.go_silent()
        await asyncio.sleep(0.5 * TIMING.lease_duration)
        holding.cancel()
        await asyncio.wait_for(winning, 2.5 * TIMING.lease_duration)
        assert server.holder == "b"


async def test_silent_watch_on_the_lease_is_begun_anew(server: LeaseServer) -> None:
    """A watch on the Lease that is silent for three renewals is restarted."""
    electors = [
        LeaderElection(
            cast("Api", server), "ops", "lease", identity, replace(TIMING, lease_duration=60, watch_timeout=0.2)
        )
        for identity in ("a", "b")
    ]
    async with following(electors):
        a, b = electors
        await within(0.5, a)
        winning = asyncio.create_task(b.acquire())
        await asyncio.sleep(0.05)
        server.go_silent()
        await a.release()
        await asyncio.wait_for(winning, 5)


async def test_dead_holder_is_succeeded_when_its_lease_ends(server: LeaseServer) -> None:
    """The Lease of a dead holder is acquired soon after its expiry, and not before."""
    async with candidate(server, "a") as a, candidate(server, "b") as b:
        await within(0.5, a)
        begun = asyncio.get_running_loop().time()
        await within(2 * TIMING.lease_duration, b)
        assert asyncio.get_running_loop().time() - begun >= 0.9 * TIMING.lease_duration
        assert server.lease is not None
        assert server.lease["spec"]["leaseTransitions"] == 1


async def test_leader_survives_a_short_outage(server: LeaseServer) -> None:
    """A failed renewal is retried while the Lease is valid."""
    async with candidate(server, "a") as a:
        await within(0.5, a)
        holding = asyncio.create_task(a.renew_until_lost())
        server.away = True
        await asyncio.sleep(0.5 * TIMING.lease_duration)
        server.away = False
        await asyncio.sleep(TIMING.lease_duration)
        assert not holding.done()
        a.assert_leader()
        holding.cancel()


async def test_leader_cut_off_ends(server: LeaseServer) -> None:
    """A leader that cannot renew for the Lease's duration gives up."""
    async with candidate(server, "a") as a:
        await within(0.5, a)
        server.away = True
        with pytest.raises(LeadershipLost):
            await asyncio.wait_for(a.renew_until_lost(), 2 * TIMING.lease_duration)


async def test_lease_taken_by_hand_is_lost(server: LeaseServer) -> None:
    """Writing another holder into the Lease ends the leader."""
    async with candidate(server, "a") as a:
        await within(0.5, a)
        server.give_to("b")
        with pytest.raises(LeadershipLost):
            await asyncio.wait_for(a.renew_until_lost(), 1)


async def test_foreign_touch_does_not_end_the_leader(server: LeaseServer) -> None:
    """An annotation on the Lease causes a conflict, which the leader survives."""
    async with candidate(server, "a") as a:
        await within(0.5, a)
        assert server.lease is not None
        await server.replace(cast("Resource", None), copy.deepcopy(server.lease))
        holding = asyncio.create_task(a.renew_until_lost())
        await asyncio.sleep(1.5 * TIMING.lease_duration)
        assert not holding.done()
        a.assert_leader()
        holding.cancel()

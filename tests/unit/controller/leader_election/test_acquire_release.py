"""Leader election: acquiring, waiting and releasing."""

from __future__ import annotations

import asyncio

import pytest

from backendpool.errors import ClusterError, LeadershipLost, NotLeading, Unreachable
from tests.unit.controller.leader_election.candidates import TIMING, candidate, within
from tests.unit.controller.leader_election.lease_server import Clock, LeaseServer

pytestmark = pytest.mark.fake_clock


async def test_first_candidate_leads_at_once(server: LeaseServer) -> None:
    """A candidate acquires a free Lease immediately."""
    async with candidate(server, "a") as a:
        await within(0.5, a)
        a.assert_leader()
        assert server.holder == "a"


async def test_second_candidate_stands_by(server: LeaseServer) -> None:
    """While the holder renews, a second candidate neither leads nor may write."""
    async with candidate(server, "a") as a, candidate(server, "b") as b:
        await within(0.5, a)
        holding = asyncio.create_task(a.renew_until_lost())
        with pytest.raises(TimeoutError):
            await within(2.5 * TIMING.lease_duration, b)
        with pytest.raises(NotLeading):
            b.assert_leader()
        holding.cancel()


async def test_lease_given_back_is_taken_at_once(server: LeaseServer) -> None:
    """A released Lease is acquired without waiting for its expiry."""
    async with candidate(server, "a") as a, candidate(server, "b") as b:
        await within(0.5, a)
        winning = asyncio.create_task(b.acquire())
        await asyncio.sleep(0.05)
        await a.release()
        await asyncio.wait_for(winning, 0.3)
        assert server.holder == "b"
        with pytest.raises(NotLeading):
            a.assert_leader()


async def test_renewal_cut_short_does_not_cost_the_hand_over(server: LeaseServer) -> None:
    """A holder that is stopped during a renewal still releases the Lease, whether or not the renewal succeeded."""
    async with candidate(server, "a") as a, candidate(server, "b") as b:
        await within(0.5, a)
        winning, holding = asyncio.create_task(b.acquire()), asyncio.create_task(a.renew_until_lost())
        server.mute = True
        await asyncio.sleep(1.5 * TIMING.renew_interval)
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
        server.mute = False
        await a.release()
        await asyncio.wait_for(winning, 0.3)
        assert server.holder == "b"


async def test_lost_lease_is_not_given_back(server: LeaseServer) -> None:
    """A former holder does not release a Lease that another candidate has acquired."""
    async with candidate(server, "a") as a:
        await within(0.5, a)
        server.give_to("b")
        await a.release()
        assert server.holder == "b"


async def test_lease_is_not_given_back_while_a_write_may_be_under_way(server: LeaseServer) -> None:
    """While an interrupted write may still arrive, the Lease is left to expire."""
    clock = Clock()
    async with candidate(server, "a", clock) as a:
        await within(0.5, a)
        with pytest.raises(Unreachable), a.writing():
            raise Unreachable("no response in time")
        await a.release()
        assert server.holder == "a"
        with pytest.raises(NotLeading):
            a.assert_leader()


async def test_lease_is_given_back_after_what_was_answered_or_is_long_ago(server: LeaseServer) -> None:
    """Completed writes, and interrupted ones that can no longer arrive, do not prevent the release."""
    clock = Clock()
    async with candidate(server, "a", clock) as a:
        await within(0.5, a)
        with pytest.raises(Unreachable), a.writing():
            raise Unreachable("no response in time")
        clock.ahead = 1.1 * TIMING.request_timeout
        with a.writing():
            pass
        await a.release()
        assert server.holder == ""


async def test_closed_fence_lets_nothing_through(server: LeaseServer) -> None:
    """Without the Lease, code behind the fence does not start."""
    async with candidate(server, "a") as a:
        with pytest.raises(NotLeading), a.writing():
            pytest.fail("begun")


async def test_failed_release_is_no_failure(server: LeaseServer) -> None:
    """If the API server is down at the release, the Lease expires by itself."""
    async with candidate(server, "a") as a:
        await within(0.5, a)
        server.away = True
        await a.release()
        assert not a.leading


async def test_many_candidates_one_leader(server: LeaseServer) -> None:
    """Of many candidates that race for a free Lease, exactly one wins."""
    async with candidate(server, "a") as a, candidate(server, "b") as b, candidate(server, "c") as c:
        races = [asyncio.create_task(one.acquire()) for one in (a, b, c)]
        await asyncio.sleep(0.3)
        assert sum(one.leading for one in (a, b, c)) == 1
        for race in races:
            race.cancel()
        await asyncio.gather(*races, return_exceptions=True)


def test_errors_are_of_the_right_kind() -> None:
    """A fenced write is retried like any failed request; lost leadership ends the process."""
    assert issubclass(NotLeading, ClusterError)
    assert not issubclass(LeadershipLost, ClusterError)

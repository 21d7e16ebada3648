"""Candidates for a Lease."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

from backendpool.controller.leader_election import ElectionTiming, LeaderElection
from backendpool.k8s.client import Api
from tests.unit.controller.leader_election.lease_server import Clock, LeaseServer

TIMING = ElectionTiming(lease_duration=1, renew_interval=0.1, retry_interval=0.02, request_timeout=0.2)


@asynccontextmanager
async def candidate(server: LeaseServer, identity: str, clock: Clock | None = None) -> AsyncIterator[LeaderElection]:
    elector = LeaderElection(cast("Api", server), "ops", "lease", identity, TIMING, clock or Clock())
    async with following([elector]):
        yield elector


@asynccontextmanager
async def following(electors: Sequence[LeaderElection]) -> AsyncIterator[None]:
    watches = [asyncio.create_task(elector.watch()) for elector in electors]
    try:
        yield
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)


async def within(seconds: float, elector: LeaderElection) -> None:
    await asyncio.wait_for(elector.acquire(), seconds)

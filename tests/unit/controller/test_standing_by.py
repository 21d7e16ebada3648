"""Several operators, of which one writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from backendpool.controller import manager
from backendpool.controller.leader_election import LeaderElection
from backendpool.controller.manager import Manager
from backendpool.errors import LeadershipLost, NotLeading
from tests.fakes.api_server import ApiServer
from tests.fakes.objects import pool
from tests.fakes.until import until
from tests.unit.controller.operators import SETTINGS, applied, as_run, figures, operating


class Candidate:
    """A fake elector that wins when ``won`` is set and loses when ``lost`` is set."""

    def __init__(self) -> None:
        self.won, self.lost, self.released = asyncio.Event(), asyncio.Event(), False

    @property
    def leading(self) -> bool:
        return self.won.is_set() and not self.lost.is_set()

    async def watch(self) -> None:
        await asyncio.Event().wait()

    async def acquire(self) -> None:
        await self.won.wait()

    async def renew_until_lost(self) -> None:
        await self.lost.wait()
        raise LeadershipLost("somebody else has the Lease")

    async def release(self) -> None:
        self.released = True


@asynccontextmanager
async def standing_by(server: ApiServer, folder: Path, candidate: Candidate) -> AsyncIterator[Manager]:
    """An operator that has synced and does not lead until the candidate wins."""
    async with server.connected(folder) as api:
        operator = Manager(api, SETTINGS, cast("LeaderElection", candidate))
        async with operating(operator):
            await until(lambda: not operator.readiness_error() and "backendpool_pools 1.0" in figures(operator))
            yield operator


async def test_standby_is_ready_and_writes_nothing(server: ApiServer, tmp_path: Path) -> None:
    """A standby has synced, is ready, and writes as soon as it becomes the leader."""
    candidate = Candidate()
    async with standing_by(server, tmp_path, candidate) as operator:
        assert "backendpool_leader 0.0" in figures(operator)
        assert server.writes == []
        candidate.won.set()
        await until(lambda: applied(server))
        assert "backendpool_leader 1.0" in figures(operator)
    assert candidate.released, "so that another can take over at once"


async def test_standby_has_nothing_due(server: ApiServer, tmp_path: Path) -> None:
    """A standby, or one that has just become the leader, has no backlog in its metrics."""
    candidate = Candidate()
    async with standing_by(server, tmp_path, candidate) as operator:
        server.put(pool(port=50052))
        await asyncio.sleep(0.5)
        assert "backendpool_queue_depth 0.0" in figures(operator)
        candidate.won.set()
        await until(lambda: applied(server))
        waited = operator.registry.get_sample_value("backendpool_queue_wait_seconds_sum")
    assert waited is not None
    assert waited < 0.5


async def test_lost_lease_ends_the_operator(server: ApiServer, tmp_path: Path) -> None:
    """Losing the Lease ends the operator with LeadershipLost, without a wrapping exception group."""
    candidate = Candidate()
    candidate.won.set()
    async with server.connected(tmp_path) as api:
        working = asyncio.create_task(Manager(api, SETTINGS, cast("LeaderElection", candidate)).run())
        await until(lambda: applied(server))
        candidate.lost.set()
        with pytest.raises(LeadershipLost, match="somebody else has the Lease"):
            await asyncio.wait_for(working, 10)


async def test_writes_pass_the_fence_of_the_lease(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every write of the real operator passes the fence, except those of the Lease."""
    refused = 0

    def refuse(elector: LeaderElection) -> None:
        nonlocal refused
        refused += 1
        raise NotLeading("another leads")

    def lease() -> dict[str, Any]:
        return cast("dict[str, Any]", server.objects["Lease", "ops", manager.LEASE]["spec"])

    with monkeypatch.context() as closed:
        closed.setattr(LeaderElection, "assert_leader", refuse)
        async with as_run(server, tmp_path, monkeypatch, lease_namespace="ops"):
            await until(lambda: refused)
            assert lease()["holderIdentity"].startswith(SETTINGS.instance)
            assert {kind for _, kind, _ in server.writes} == {"Lease"}
            closed.undo()
            await until(lambda: applied(server))
    assert lease()["holderIdentity"] == ""

"""Fixtures of leader election: an API server with a Lease."""

from __future__ import annotations

import pytest

from tests.unit.controller.leader_election.lease_server import LeaseServer


@pytest.fixture
def server() -> LeaseServer:
    return LeaseServer()

"""Builders and readers of status documents."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from backendpool.api.conditions import ChildrenStatus
from backendpool.api.endpoints import Endpoint, EndpointSet, EndpointState
from backendpool.api.pool import Pool
from backendpool.api.status import build_status

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DONE = ChildrenStatus(applied=True, lookaside_available=2)
ONE = Endpoint("10.0.0.1", 50051, pod_uid="u1", pod_name="p1", node_name="n1", zone="a")
TWO = Endpoint("10.0.0.2", 50051, pod_uid="u2", pod_name="p2", node_name="n2", zone="b")
GOING = replace(TWO, state=EndpointState.DRAINING)
BOTH = EndpointSet.of([ONE, TWO])
EMPTY = EndpointSet.of([])


def status_of(of: Pool, endpoints: EndpointSet | None = BOTH, children: ChildrenStatus = DONE) -> dict[str, Any]:
    return build_status(of, endpoints, children, NOW)

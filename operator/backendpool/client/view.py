"""What a client needs to know of a pool. Pure, so that a balancer can be fed from anywhere."""

from __future__ import annotations

from dataclasses import dataclass

from backendpool.endpoints import EndpointSet
from backendpool.spec import EmptyPolicy, Policy


@dataclass(frozen=True, slots=True)
class PoolView:
    """A pool's endpoints at one moment, and how its author wants calls to be spread over them."""

    endpoints: EndpointSet
    policy: Policy = Policy.ROUND_ROBIN
    empty_policy: EmptyPolicy = EmptyPolicy.FAIL

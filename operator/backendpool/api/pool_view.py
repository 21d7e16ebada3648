"""What a client needs to know of a pool. Pure, so that a balancer or a lookaside can be fed from anywhere."""

from __future__ import annotations

from dataclasses import dataclass

from backendpool.api.endpoints import EndpointSet
from backendpool.api.load_balancing import DEFAULT, Balancing


@dataclass(frozen=True, slots=True)
class PoolView:
    """A pool's endpoints at one moment, and how its author wants calls to be spread over them."""

    endpoints: EndpointSet
    balancing: Balancing = DEFAULT

"""Whose turn it is: each policy has its picker."""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Protocol, TypeVar

from backendpool.api.load_balancing import Policy
from backendpool.client.policies.candidate import Candidate, RandomSource
from backendpool.client.policies.consistent_hash import ConsistentHash
from backendpool.client.policies.least_request import LeastRequest
from backendpool.client.policies.round_robin import RoundRobin
from backendpool.client.policies.uniform import Random
from backendpool.client.policies.weighted_round_robin import WeightedRoundRobin

T = TypeVar("T")
C = TypeVar("C", bound=Candidate)


class Picker(Protocol[T]):
    """A policy at work over the backends that can take a call now."""

    def replace(self, items: tuple[T, ...]) -> None:
        """Pick from ``items`` from now on; those that were there before come in the same order as before."""

    def refresh(self) -> None:
        """Go by the weights that the items have now, where the policy does; due whenever they may have changed."""

    def pick(self, avoid: Collection[T] = (), key: bytes | None = None) -> T:
        """One of the items, of which there must be some; of ``avoid`` only where there is no other.

        By ``key`` only :class:`ConsistentHash` goes.
        """


def picker_for(policy: Policy, source: RandomSource = random) -> Picker[C]:
    """The picker that a pool's policy asks for; chance comes from ``source``."""
    match policy:
        case Policy.ROUND_ROBIN:
            return RoundRobin(source)
        case Policy.RANDOM:
            return Random(source)
        case Policy.LEAST_REQUEST:
            return LeastRequest(source)
        case Policy.WEIGHTED_ROUND_ROBIN:
            return WeightedRoundRobin(source)
        case Policy.CONSISTENT_HASH:
            return ConsistentHash(source)

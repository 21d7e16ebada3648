"""Pickers: one for each policy, and one that prefers the client's zone."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection
from typing import Generic, Protocol, TypeVar

from backendpool.api.load_balancing import Policy
from backendpool.client._policies.candidate import Candidate, RandomSource
from backendpool.client._policies.consistent_hash import ConsistentHash
from backendpool.client._policies.least_request import LeastRequest
from backendpool.client._policies.locality import split
from backendpool.client._policies.random import Random
from backendpool.client._policies.round_robin import RoundRobin
from backendpool.client._policies.weighted_round_robin import WeightedRoundRobin

T = TypeVar("T")
C = TypeVar("C", bound=Candidate)


class Picker(Protocol[T]):
    """Picks the backend of each call from those that can take one."""

    def replace(self, items: tuple[T, ...]) -> None:
        """Pick from ``items`` from now on; those that stay keep their relative order."""

    def refresh(self) -> None:
        """Read the weights of the items again. Call it whenever they may have changed."""

    def pick(self, avoid: Collection[T] = (), key: bytes | None = None) -> T:
        """Pick one of the items, one of ``avoid`` only if there is no other.

        There must be an item. ``key`` is the call's hash key, which only :class:`ConsistentHash` uses.
        """


def picker_for(policy: Policy, source: RandomSource = random) -> Picker[C]:
    """Return a new picker for ``policy``."""
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


class ZonePicker(Generic[C]):
    """Prefers backends in ``zone``, and spills over if they cannot take all calls (:func:`~.locality.split`).

    ``make`` makes the pickers of the zone and of the others. ``pool`` returns all backends, usable or not, by which the
    zones are sized.
    """

    __slots__ = ("_chance", "_local", "_others", "_pool", "_share", "_zone")

    def __init__(
        self,
        zone: str,
        make: Callable[[], Picker[C]],
        pool: Callable[[], Collection[C]],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._zone = zone
        self._local, self._others = make(), make()
        self._pool = pool
        self._chance = chance
        self._share = 0.0

    def replace(self, items: tuple[C, ...]) -> None:
        parts = split(items, self._zone, Counter(backend.zone for backend in self._pool()))
        self._share = parts.share
        self._local.replace(parts.local)
        self._others.replace(parts.others)

    def refresh(self) -> None:
        self._local.refresh()
        self._others.refresh()

    def pick(self, avoid: Collection[C] = (), key: bytes | None = None) -> C:
        share = self._share
        near = share == 1.0 or (share > 0.0 and self._chance() < share)
        picked = (self._local if near else self._others).pick(avoid, key)
        if picked in avoid and 0.0 < share < 1.0:
            return (self._others if near else self._local).pick(avoid, key)
        return picked

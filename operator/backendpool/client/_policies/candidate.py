"""Candidates: the backends that a picker picks from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol, TypeVar

Identity = tuple[str, int, str]
"""Address, port and pod UID of a backend."""

T = TypeVar("T")


class Candidate(Protocol):
    """A backend that can take a call. It is hashed by identity of the object."""

    @property
    def identity(self) -> Identity:
        """The same for this backend in all clients."""

    @property
    def zone(self) -> str:
        """The zone it runs in; empty if unknown."""

    @property
    def active(self) -> int:
        """Calls in flight, plus recent failures that count as such (:mod:`.penalty`)."""

    @property
    def weight(self) -> float:
        """Its share relative to other weights; 0 if unknown."""

    @property
    def ramp(self) -> float:
        """The part of its share during slow start, in (0, 1]; 1 afterwards (:mod:`.slow_start`)."""


class RandomSource(Protocol):
    """A source of random numbers: a ``random.Random``, or the module ``random`` itself."""

    def uniform(self, a: float, b: float, /) -> float: ...
    def randrange(self, stop: int, /) -> int: ...
    def shuffle(self, x: list[Any], /) -> None: ...
    def choice(self, seq: Sequence[T], /) -> T: ...
    def choices(self, population: Sequence[T], weights: Sequence[float], /) -> list[T]: ...


def preferred(items: tuple[T, ...], avoid: Collection[T]) -> tuple[T, ...]:
    """Return ``items`` without those to ``avoid``, or all of them if nothing would be left."""
    return tuple(item for item in items if item not in avoid) or items if avoid else items

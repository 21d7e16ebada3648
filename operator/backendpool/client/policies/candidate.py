"""What pickers pick from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol, TypeVar

Identity = tuple[str, int, str]
"""Address, port and pod UID: what makes it the same backend."""

T = TypeVar("T")


class Candidate(Protocol):
    """A backend that can take a call now. It is hashable, by being itself."""

    @property
    def identity(self) -> Identity:
        """The same in all clients."""

    @property
    def zone(self) -> str:
        """Where it runs; empty where that is not known."""

    @property
    def active(self) -> int:
        """Calls under way, and those that count as such (:mod:`.penalty`)."""

    @property
    def weight(self) -> float:
        """Its share in relation to those of others; 0 where none is known."""

    @property
    def ramp(self) -> float:
        """The part of its share that it gets as yet, in (0, 1]: 1 once it has started up (:mod:`.slow_start`)."""


class RandomSource(Protocol):
    """Where chance comes from: a ``random.Random``, or the module ``random`` itself."""

    def uniform(self, a: float, b: float, /) -> float: ...
    def randrange(self, stop: int, /) -> int: ...
    def shuffle(self, x: list[Any], /) -> None: ...
    def choice(self, seq: Sequence[T], /) -> T: ...
    def choices(self, population: Sequence[T], weights: Sequence[float], /) -> list[T]: ...


def preferred(items: tuple[T, ...], avoid: Collection[T]) -> tuple[T, ...]:
    """Those of ``items`` that need not be avoided; all of them where there is no other."""
    return tuple(item for item in items if item not in avoid) or items if avoid else items

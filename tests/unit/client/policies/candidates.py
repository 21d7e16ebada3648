"""Candidates without connections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from backendpool.client._policies.candidate import Identity


@dataclass(eq=False)
class Backend:
    """The attributes of a backend that pickers use."""

    name: str
    active: int = 0
    weight: float = 0.0
    ramp: float = 1.0
    zone: str = ""

    @property
    def identity(self) -> Identity:
        return (self.name, 50051, f"uid-{self.name}")


def backends(count: int) -> tuple[Backend, ...]:
    return tuple(Backend(f"10.0.{number // 256}.{number % 256}") for number in range(count))


def weighted(weights: Sequence[float]) -> tuple[Backend, ...]:
    return tuple(Backend(f"b{number}", weight=weight) for number, weight in enumerate(weights))


NAMES = st.sets(st.sampled_from("abcdefgh"), min_size=1).map(lambda names: tuple(sorted(names)))

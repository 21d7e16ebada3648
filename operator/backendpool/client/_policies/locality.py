"""Zone-aware routing: the client's own zone first, as long as it has the capacity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

OVERPROVISIONING: Final = 1.4
"""How much more than its usual load a backend can take before calls spill over: Envoy's default factor."""


class Zoned(Protocol):
    @property
    def zone(self) -> str:
        """The zone it runs in; empty if unknown."""


Z = TypeVar("Z", bound=Zoned)


@dataclass(frozen=True, slots=True)
class Split(Generic[Z]):
    """The ``share`` of calls, from 0 to 1, that goes to ``local``; the rest goes to ``others``.

    It is 0 if there are no local backends, and 1 if there are no others.
    """

    share: float
    local: tuple[Z, ...]
    others: tuple[Z, ...]


def split(usable: tuple[Z, ...], zone: str, sizes: Mapping[str, int]) -> Split[Z]:
    """Split the calls of a client in ``zone`` between its zone and the others.

    ``usable`` are the backends that take calls; ``sizes`` counts all backends by zone, usable or not.

    Zones are assumed to have equally many clients, so that each zone causes an equal part of the load and needs an
    equal part of the pool's backends. A zone that has this many usable backends, divided by :data:`OVERPROVISIONING`,
    keeps all its calls. A smaller or less healthy one keeps as many as its backends can take, and the rest goes to the
    other zones in proportion to their usable backends. For zones of equal size this is Envoy's rule for spilling over
    to the next priority.
    """
    local = tuple(item for item in usable if item.zone == zone) if zone else ()
    others = tuple(item for item in usable if item.zone != zone) if zone else usable
    if not local or not others:
        return Split(1.0 if local else 0.0, local, others)
    needed = sum(sizes.values()) / len(sizes)
    return Split(min(1.0, OVERPROVISIONING * len(local) / needed), local, others)

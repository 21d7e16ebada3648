"""The near backends first, as long as they can take it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

OVERPROVISIONING: Final = 1.4
"""How much more than its usual load a backend is trusted with before calls go elsewhere: Envoy's default factor."""


class Zoned(Protocol):
    @property
    def zone(self) -> str:
        """Where it runs; empty where that is not known."""


Z = TypeVar("Z", bound=Zoned)


@dataclass(frozen=True, slots=True)
class Split(Generic[Z]):
    """``share`` of the calls, from 0 to 1, are for ``local``, all others for ``others``.

    It is 0 where there are no local ones, and 1 where there are no others. Within each part, calls are spread as ever.
    """

    share: float
    local: tuple[Z, ...]
    others: tuple[Z, ...]


def split(usable: tuple[Z, ...], zone: str, sizes: Mapping[str, int]) -> Split[Z]:
    """Who gets which part of the calls of a client in ``zone``.

    ``usable`` are the backends that take calls, of those that ``sizes`` counts by zone, usable or not.

    Zones are taken to have equally many clients. So each is to bear an equal part of the load, for which the pool has
    an equal part of its backends. A zone that has as many usable ones, divided by :data:`OVERPROVISIONING`, keeps all
    its calls; one that has fewer, for being small or for being ill, keeps as many as these can take, and the rest goes
    to the other zones, to each in proportion to its usable backends. With zones of equal size it is the rule by which
    Envoy lets calls spill over from one priority to the next.
    """
    local = tuple(item for item in usable if item.zone == zone) if zone else ()
    others = tuple(item for item in usable if item.zone != zone) if zone else usable
    if not local or not others:
        return Split(1.0 if local else 0.0, local, others)
    needed = sum(sizes.values()) / len(sizes)
    return Split(min(1.0, OVERPROVISIONING * len(local) / needed), local, others)

"""What has to be done so that a pool's children stand as desired. Pure.

Live objects are compared with desired ones by containment, as server-side apply sees them (KEP-555): every
field that we desire must stand so; what the API server defaulted or others added is theirs. What apply could
not undo is not drift, or it would be applied for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from backendpool.api.constants import GROUP, KIND
from backendpool.api.pool import Pool
from backendpool.api.quantity import Quantity

Ref: TypeAlias = tuple[str, str]
"""Kind and name of a child; the namespace is the pool's."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do about a pool's children, nothing where they are as desired; where ``conflicts`` are, nothing else."""

    apply: tuple[Mapping[str, Any], ...] = ()
    delete: tuple[Ref, ...] = ()
    conflicts: tuple[Ref, ...] = ()


def plan(pool: Pool, desired: Sequence[Mapping[str, Any]], live: Mapping[Ref, Mapping[str, Any]]) -> Plan:
    """Compare what should be with what is.

    ``live`` holds every object of a pool's kinds that has a desired name or is the pool's own. An object
    that has a desired name and is not the pool's is a conflict: nothing of the pool is touched, because a
    foreign Service would feed a lookaside of ours with foreign endpoints.
    """
    wanted = {ref_of(child): child for child in desired}
    conflicts = tuple(ref for ref in wanted if ref in live and not belongs_to(live[ref], pool))
    if conflicts:
        return Plan(conflicts=conflicts)
    return Plan(
        apply=tuple(child for ref, child in wanted.items() if not covers(live.get(ref, {}), child)),
        delete=tuple(ref for ref in sorted(live.keys() - wanted.keys()) if _is_standing(live[ref], pool.uid)),
    )


def ref_of(child: Mapping[str, Any]) -> Ref:
    """Kind and name of a desired child."""
    return (child["kind"], child["metadata"]["name"])


def owned_by(live: Mapping[str, Any], uid: str) -> bool:
    """Whether the owner of ``uid`` is the object's controller."""
    return any(owner.get("uid") == uid for owner in _controllers(live))


def belongs_to(live: Mapping[str, Any], pool: Pool) -> bool:
    """Whether the pool may apply to the object: it owns it, or a deleted pool of its name did.

    Names are unique, so a pool of the same name and another uid is gone. Its children, where the garbage
    collector has not come round to them yet, are taken over and not missed for a moment.
    """
    return owned_by(live, pool.uid) or any(
        owner.get("kind") == KIND
        and str(owner.get("apiVersion")).partition("/")[0] == GROUP
        and owner.get("name") == pool.name
        for owner in _controllers(live)
    )


def covers(live: Mapping[str, Any], desired: Mapping[str, Any]) -> bool:
    """Whether every field of ``desired`` stands so in ``live``.

    The digest annotation is a field like any other, so a child whose desired fields have become fewer does
    not cover either. ``apiVersion`` and ``kind`` are the caller's matter: items of a list have neither.
    """
    fields = {key: value for key, value in desired.items() if key not in _TYPE_META}
    return _contains_map(live, fields, "")


_TYPE_META: Final = frozenset({"apiVersion", "kind"})

_ATOMIC: Final = frozenset({"selector", "matchLabels", "roleRef"})
"""Maps that apply replaces as a whole (``+mapType=atomic`` in the API), so an added key is drift."""

_MERGE_KEYS: Final[Mapping[str, str]] = {
    "containers": "name",
    "env": "name",
    "ownerReferences": "uid",
    "ports": "name",
    "topologySpreadConstraints": "topologyKey",
}
"""Lists that apply merges by a key (``+listType=map``), so an added item is somebody else's. All others are
replaced as a whole."""

_QUANTITIES: Final = frozenset({"limits", "requests"})
"""Maps of quantities, which the API server writes back in a form of its own: 1000m as 1."""


def _contains(live: object, desired: object, name: str) -> bool:
    if isinstance(desired, Mapping):
        return isinstance(live, Mapping) and _contains_map(live, desired, name)
    if isinstance(desired, list):
        return isinstance(live, list) and _contains_list(live, desired, name)
    return live == desired


def _contains_map(live: Mapping[str, Any], desired: Mapping[str, Any], name: str) -> bool:
    if name in _QUANTITIES:
        return all(key in live and _same_quantity(live[key], value) for key, value in desired.items())
    if name in _ATOMIC and live.keys() != desired.keys():
        return False
    return all(_contains(live.get(key), value, key) for key, value in desired.items())


def _contains_list(live: list[Any], desired: list[Any], name: str) -> bool:
    key = _MERGE_KEYS.get(name)
    if key is None:
        pairs = zip(live, desired, strict=False)
        return len(live) == len(desired) and all(_contains(there, wanted, "") for there, wanted in pairs)
    by_key = {item.get(key): item for item in live}
    return all(_contains(by_key.get(wanted[key]), wanted, "") for wanted in desired)


def _same_quantity(live: object, desired: object) -> bool:
    amount = Quantity.parse(desired)
    return live == desired if amount is None else Quantity.parse(live) == amount


def _is_standing(live: Mapping[str, Any], uid: str) -> bool:
    return owned_by(live, uid) and not live["metadata"].get("deletionTimestamp")


def _controllers(live: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    owners = live["metadata"].get("ownerReferences") or ()
    return [owner for owner in owners if owner.get("controller")]

"""Drift between a pool's live and desired children, and the plan to repair it. Pure.

As in server-side apply (KEP-555), a live object is in the desired state if it has every desired field; defaults and
fields of other managers do not count. A change that apply cannot revert is not drift, since it would be applied again
and again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from backendpool.api.constants import GROUP, KIND
from backendpool.api.pool import Pool
from backendpool.api.quantity import Quantity
from backendpool.children.manifest import ChildRef, KubernetesObject, ref_of


@dataclass(frozen=True, slots=True)
class Plan:
    """The writes to make; empty if there is no drift. With ``conflicts`` there are no writes."""

    apply: tuple[KubernetesObject, ...] = ()
    delete: tuple[ChildRef, ...] = ()
    conflicts: tuple[ChildRef, ...] = ()


def plan(pool: Pool, desired: Sequence[KubernetesObject], live: Mapping[ChildRef, KubernetesObject]) -> Plan:
    """Compare the desired with the live children.

    ``live`` has every object of the children's kinds that has a desired name or belongs to the pool. An object that has
    a desired name and does not belong to the pool is a conflict, in which nothing is written: a foreign Service would
    feed the pool's lookaside with foreign endpoints.
    """
    wanted = {ref_of(child): child for child in desired}
    conflicts = tuple(ref for ref in wanted if ref in live and not belongs_to(live[ref], pool))
    if conflicts:
        return Plan(conflicts=conflicts)
    return Plan(
        apply=tuple(child for ref, child in wanted.items() if not covers(live.get(ref, {}), child)),
        delete=tuple(ref for ref in sorted(live.keys() - wanted.keys()) if _is_standing(live[ref], pool.uid)),
    )


def owned_by(live: KubernetesObject, uid: str) -> bool:
    """Return whether the object's controller has this uid."""
    return any(owner.get("uid") == uid for owner in _controllers(live))


def belongs_to(live: KubernetesObject, pool: Pool) -> bool:
    """Return whether the pool owns the object, or a deleted pool of its name did.

    Names are unique, so a pool of the same name and another uid is deleted. Its children are taken over if the garbage
    collector has not deleted them yet.
    """
    return owned_by(live, pool.uid) or any(
        owner.get("kind") == KIND
        and str(owner.get("apiVersion")).partition("/")[0] == GROUP
        and owner.get("name") == pool.name
        for owner in _controllers(live)
    )


def covers(live: KubernetesObject, desired: KubernetesObject) -> bool:
    """Return whether ``live`` has every field of ``desired``, except ``apiVersion`` and ``kind``.

    The digest annotation is a field like any other, so an object with a field that is no longer desired differs.
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
"""Lists that apply merges by a key (``+listType=map``): items added by others stay. All other lists are replaced."""

_QUANTITIES: Final = frozenset({"limits", "requests"})
"""Maps of quantities, which the API server normalizes: 1000m becomes 1."""


def _contains(live: object, desired: object, name: str) -> bool:
    if isinstance(desired, Mapping):
        return isinstance(live, Mapping) and _contains_map(live, desired, name)
    if isinstance(desired, list):
        return isinstance(live, list) and _contains_list(live, desired, name)
    return live == desired


def _contains_map(live: KubernetesObject, desired: KubernetesObject, name: str) -> bool:
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


def _is_standing(live: KubernetesObject, uid: str) -> bool:
    return owned_by(live, uid) and not live["metadata"].get("deletionTimestamp")


def _controllers(live: KubernetesObject) -> Iterable[KubernetesObject]:
    owners = live["metadata"].get("ownerReferences") or ()
    return [owner for owner in owners if owner.get("controller")]

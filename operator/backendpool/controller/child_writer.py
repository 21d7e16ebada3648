"""One child, written: made where it is not there, applied where it is the pool's, left alone where it is not.

Each write is bound to what it was decided on, so that neither a foreign object that appears in between nor a decision
that was delayed is overlooked by the API server. See docs/adr/0007-writes-are-bound-to-what-was-read.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import reduce
from typing import Any

from backendpool.api.constants import FIELD_MANAGER
from backendpool.api.pool import Pool
from backendpool.children.drift import Ref, belongs_to, covers, ref_of
from backendpool.controller.cache import Live
from backendpool.controller.metrics import OperatorMetrics
from backendpool.errors import Conflict, NotFound
from backendpool.k8s.client import Api
from backendpool.k8s.resources import CHILD_RESOURCES

_TRIES = 3
"""A Deployment's status is written while it rolls out: to meet that more than twice in a row says something else."""


class ChildWriter:
    """Writes children, and counts what it wrote."""

    def __init__(self, api: Api, metrics: OperatorMetrics) -> None:
        self._api = api
        self._metrics = metrics

    async def put(self, pool: Pool, child: Live, *, known: bool) -> tuple[Live, bool]:
        """What stands under the child's name afterwards, be it somebody else's, and whether it was written.

        ``known`` says whether something of the name is thought to be there. Raises ``ApiError`` where the API server
        refuses, ``Unreachable`` where it is away.
        """
        for left in reversed(range(_TRIES)):
            try:
                return await self._put(pool, child, known)
            except Conflict:
                # It came, changed or went while we looked at it.
                known = True
                if not left:
                    raise
        raise AssertionError("the last try returns or raises")

    async def delete(self, pool: Pool, ref: Ref, uid: str) -> bool:
        """Whether it was deleted: not where it went before, or where another has its name by now."""
        kind, name = ref
        with suppress(NotFound, Conflict):
            await self._api.delete(CHILD_RESOURCES[kind], pool.namespace, name, uid=uid)
            self._metrics.child_writes.labels(kind, "delete").inc()
            return True
        return False

    async def _put(self, pool: Pool, child: Live, known: bool) -> tuple[Live, bool]:
        held = await self._read(child) if known else None
        if held is None:
            return await self._create(child), True
        if not belongs_to(held, pool) or covers(held, child):
            return held, False
        if _address(held) and _address(held) != _address(child):
            # The API server takes no address from a Service: one of an older version goes, for one without.
            await self.delete(pool, ref_of(held), held["metadata"]["uid"])
            return await self._create(child), True
        return await self._apply(child, held), True

    async def _read(self, child: Live) -> Live | None:
        kind, name = ref_of(child)
        with suppress(NotFound):
            return await self._api.get(CHILD_RESOURCES[kind], child["metadata"]["namespace"], name)
        return None

    async def _create(self, child: Live) -> Live:
        kind, _ = ref_of(child)
        made = await self._api.create(CHILD_RESOURCES[kind], dict(child))
        self._metrics.child_writes.labels(kind, "create").inc()
        return made

    async def _apply(self, child: Live, held: Live) -> Live:
        kind, _ = ref_of(child)
        if renamed := as_applied(held["metadata"].get("managedFields") or ()):
            held = await self._api.merge(CHILD_RESOURCES[kind], _bound(held, {"managedFields": renamed}))
        applied = await self._api.apply(CHILD_RESOURCES[kind], {**child, **_bound(held, child["metadata"])})
        self._metrics.child_writes.labels(kind, "apply").inc()
        return applied


def as_applied(managed: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The managed fields of an object, with what we created as if we had applied it; empty where they are so already.

    To the API server, who creates is another manager than who applies, even under one name: what the one has set, the
    other does not take away. Entries of others are left as they are, whatever they lack: the API server takes any.
    """
    ours = [entry for entry in managed if _is_ours(entry)]
    if all(entry["operation"] == "Apply" for entry in ours):
        return []
    fields = reduce(_union, (entry["fieldsV1"] for entry in ours))
    others = [entry for entry in managed if not _is_ours(entry)]
    return [*others, {**ours[0], "operation": "Apply", "fieldsV1": fields}]


def _is_ours(entry: Mapping[str, Any]) -> bool:
    """Whether the entry lists fields that this operator wrote."""
    return (
        entry.get("manager") == FIELD_MANAGER
        and not entry.get("subresource")
        and entry.get("operation") in ("Apply", "Update")
        and isinstance(entry.get("fieldsV1"), dict)
    )


def _address(obj: Live) -> str | None:
    address: str | None = obj.get("spec", {}).get("clusterIP")
    return address


def _union(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Not by recursion: managed fields may be deeper than Python's stack."""
    union: dict[str, Any] = {}
    left = [(union, one, other)]
    while left:
        into, mine, others = left.pop()
        for field in mine.keys() | others.keys():
            into[field] = {}
            left.append((into[field], mine.get(field) or {}, others.get(field) or {}))
    return union


def _bound(held: Live, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """``metadata`` of a write that the API server refuses where there is another object than ``held``, or version."""
    named = {key: held["metadata"][key] for key in ("namespace", "name", "uid", "resourceVersion")}
    return {"metadata": {**metadata, **named}}

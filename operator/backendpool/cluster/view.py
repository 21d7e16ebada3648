"""What a reflector knows: objects by key, and what a list or an event changes in them. No I/O."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

Key = tuple[str, str]
"""Namespace and name of an object; the namespace is empty where the kind has none."""


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """An object came (no ``old``), changed, or went (no ``new``)."""

    key: Key
    old: T | None
    new: T | None


class View(Generic[T]):
    """The objects of one kind as ``parse`` reads them; each difference is told to ``on_change``.

    An object that ``parse`` raises on stays as it was before.
    """

    def __init__(self, parse: Callable[[dict[str, Any]], T], on_change: Callable[[Change[T]], None]) -> None:
        self._parse = parse
        self._on_change = on_change
        self._items: dict[Key, T] = {}
        self._unparsable: set[Key] = set()
        self.items: Mapping[Key, T] = MappingProxyType(self._items)

    def read(self, objects: Iterable[dict[str, Any]]) -> dict[Key, T | None]:
        """Parse ``objects``, a page of a list, and change nothing yet; None stands for what cannot be read."""
        return {_key(obj): self._read(obj) for obj in objects}

    def replace(self, found: Mapping[Key, T | None]) -> None:
        """Take ``found`` for all that there is; the differences are told when the whole of it is in place."""
        changes = [Change(key, self._items.get(key), found.get(key)) for key in {**self._items, **found}]
        self._items.clear()
        self._items.update({key: value for key, value in found.items() if value is not None})
        self._unparsable &= found.keys()
        for change in changes:
            self._tell(change)

    def put(self, obj: dict[str, Any]) -> None:
        """An object came or changed."""
        key = _key(obj)
        old, new = self._items.get(key), self._read(obj)
        if new is not None:
            self._items[key] = new
        self._tell(Change(key, old, new))

    def drop(self, obj: dict[str, Any]) -> None:
        """An object went."""
        key = _key(obj)
        self._unparsable.discard(key)
        self._tell(Change(key, self._items.pop(key, None), None))

    def _read(self, obj: dict[str, Any]) -> T | None:
        """The object parsed; where that fails, what the view has of it."""
        key = _key(obj)
        try:
            parsed = self._parse(obj)
        # One object that nobody foresaw must not blind us to all others.
        except Exception as error:  # noqa: BLE001
            if key not in self._unparsable:
                log.warning("%s %s/%s cannot be read, and stays as it was: %r", obj.get("kind"), *key, error)
            self._unparsable.add(key)
            return self._items.get(key)
        self._unparsable.discard(key)
        return parsed

    def _tell(self, change: Change[T]) -> None:
        if change.old != change.new:
            self._on_change(change)


def _key(obj: dict[str, Any]) -> Key:
    meta = obj["metadata"]
    return (meta.get("namespace", ""), meta["name"])

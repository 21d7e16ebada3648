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

    An object that ``parse`` or ``on_change`` raises on keeps its previous state. An event that is not newer than
    ``version``, that of the last list or event, tells of an older time and changes nothing: it was told twice, or by a
    watch of before the list.
    """

    def __init__(self, parse: Callable[[dict[str, Any]], T], on_change: Callable[[Change[T]], None]) -> None:
        self._parse = parse
        self._on_change = on_change
        self._items: dict[Key, T] = {}
        self._unparsable: set[Key] = set()
        self.version = "0"
        self.items: Mapping[Key, T] = MappingProxyType(self._items)

    def read(self, objects: Iterable[dict[str, Any]]) -> dict[Key, T | None]:
        """Parse ``objects``, a page of a list, and change nothing yet; None stands for what cannot be read."""
        return {_key(obj): self._read(obj) for obj in objects}

    def replace(self, found: Mapping[Key, T | None], version: str) -> None:
        """Take ``found`` for all that there is; the differences are told when the whole of it is in place."""
        self.version = version
        changes = [Change(key, self._items.get(key), found.get(key)) for key in {**self._items, **found}]
        self._items.clear()
        self._items.update({key: value for key, value in found.items() if value is not None})
        self._unparsable &= found.keys()
        for change in changes:
            self._tell(change)

    def put(self, obj: dict[str, Any]) -> bool:
        """An object came or changed; whether that is news."""
        if not self._is_news(obj):
            return False
        key = _key(obj)
        old, new = self._items.get(key), self._read(obj)
        if new is not None:
            self._items[key] = new
        self._tell(Change(key, old, new))
        return True

    def drop(self, obj: dict[str, Any]) -> bool:
        """An object went; whether that is news."""
        if not self._is_news(obj):
            return False
        key = _key(obj)
        self._unparsable.discard(key)
        self._tell(Change(key, self._items.pop(key, None), None))
        return True

    def mark(self, bookmark: dict[str, Any]) -> bool:
        """All is as of the bookmark's version; whether that may be so."""
        return version_of(bookmark) == self.version or self._is_news(bookmark)

    def _is_news(self, obj: dict[str, Any]) -> bool:
        version = version_of(obj)
        if not is_newer(version, self.version):
            return False
        self.version = version
        return True

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
        if change.old == change.new:
            return
        try:
            self._on_change(change)
        # Keep the previous state, so that the next list reports the change again.
        except Exception:
            log.exception("%s/%s cannot be used; keeping its previous state", *change.key)
            if change.old is None:
                self._items.pop(change.key, None)
            else:
                self._items[change.key] = change.old


def is_newer(version: str, than: str) -> bool:
    """Resource versions of one kind compare as integers (KEP-5504)."""
    return int(version) > int(than)


def version_of(obj: Mapping[str, Any]) -> str:
    """An object's resource version, or a list's."""
    version: str = obj["metadata"]["resourceVersion"]
    return version


def _key(obj: dict[str, Any]) -> Key:
    meta = obj["metadata"]
    return (meta.get("namespace", ""), meta["name"])

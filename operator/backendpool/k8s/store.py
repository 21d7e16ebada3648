"""The objects that a reflector knows, and how lists and events change them. No I/O."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Generic, TypeAlias, TypeVar

from backendpool.runtime.logs import FieldLogger

log = FieldLogger(logging.getLogger(__name__))

T = TypeVar("T")

Key: TypeAlias = tuple[str, str]
"""Namespace and name of an object; the namespace is empty for a cluster-scoped kind."""

OnChange: TypeAlias = Callable[[T | None, T | None], None]
"""Called with the old and the new object: ``old`` is None if it was added, ``new`` is None if it was deleted."""


class Store(Generic[T]):
    """The objects of one kind, as ``parse`` returns them; ``on_change`` is called for each difference.

    An object on which ``parse`` or ``on_change`` raises keeps its previous state. An event that is not newer than
    ``version``, that of the last list or event, is ignored: it is a duplicate, or from a watch before the list.
    """

    def __init__(self, parse: Callable[[dict[str, Any]], T], on_change: OnChange[T]) -> None:
        self._parse = parse
        self._on_change = on_change
        self._items: dict[Key, T] = {}
        self._unparsable: set[Key] = set()
        self.version = "0"
        self.items: Mapping[Key, T] = MappingProxyType(self._items)

    def parse_page(self, objects: Iterable[dict[str, Any]]) -> dict[Key, T | None]:
        """Parse a page of a list without changing the store; None for an object that cannot be parsed."""
        return {_key(obj): self._parse_or_keep(obj) for obj in objects}

    def replace(self, listed: Mapping[Key, T | None], version: str) -> None:
        """Replace all objects by those of a complete list, and only then call ``on_change``."""
        self.version = version
        before = dict(self._items)
        self._items.clear()
        self._items.update({key: value for key, value in listed.items() if value is not None})
        self._unparsable &= listed.keys()
        for key in {**before, **listed}:
            self._notify(key, before.get(key), listed.get(key))

    def put(self, obj: dict[str, Any]) -> bool:
        """Add or update an object; returns whether the event is news."""
        if not self._is_news(obj):
            return False
        key = _key(obj)
        old, new = self._items.get(key), self._parse_or_keep(obj)
        if new is not None:
            self._items[key] = new
        self._notify(key, old, new)
        return True

    def delete(self, obj: dict[str, Any]) -> bool:
        """Delete an object; returns whether the event is news."""
        if not self._is_news(obj):
            return False
        key = _key(obj)
        self._unparsable.discard(key)
        self._notify(key, self._items.pop(key, None), None)
        return True

    def bookmark(self, bookmark: dict[str, Any]) -> bool:
        """Advance the version; returns False for a bookmark that is older than the store."""
        return version_of(bookmark) == self.version or self._is_news(bookmark)

    def _is_news(self, obj: dict[str, Any]) -> bool:
        version = version_of(obj)
        if not is_newer(version, self.version):
            return False
        self.version = version
        return True

    def _parse_or_keep(self, obj: dict[str, Any]) -> T | None:
        """Parse the object; if that fails, return its previous state."""
        key = _key(obj)
        try:
            parsed = self._parse(obj)
        # One unexpected object must not stop the watch on all others.
        except Exception as error:  # noqa: BLE001
            if key not in self._unparsable:
                log.warning(
                    "Object cannot be parsed, keeping its previous state",
                    extra={"kind": obj.get("kind"), "object": _reference(key), "error": repr(error)},
                )
            self._unparsable.add(key)
            return self._items.get(key)
        self._unparsable.discard(key)
        return parsed

    def _notify(self, key: Key, old: T | None, new: T | None) -> None:
        if old == new:
            return
        try:
            self._on_change(old, new)
        # Keep the previous state, so that the next list reports the change again.
        except Exception:
            log.exception("Object cannot be processed, keeping its previous state", extra={"object": _reference(key)})
            if old is None:
                self._items.pop(key, None)
            else:
                self._items[key] = old


def is_newer(version: str, than: str) -> bool:
    """Compare resource versions of one kind, which are integers (KEP-5504)."""
    return int(version) > int(than)


def version_of(obj: Mapping[str, Any]) -> str:
    """Return the resource version of an object or a list."""
    version: str = obj["metadata"]["resourceVersion"]
    return version


def _key(obj: dict[str, Any]) -> Key:
    meta = obj["metadata"]
    return (meta.get("namespace", ""), meta["name"])


def _reference(key: Key) -> str:
    """Return ``namespace/name``, as logs show an object."""
    return "/".join(filter(None, key))

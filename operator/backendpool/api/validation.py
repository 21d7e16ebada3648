"""Read and validate fields of an untrusted document. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from backendpool.errors import SpecError

E = TypeVar("E", bound=StrEnum)


def mapping(path: str, value: object) -> dict[str, Any]:
    """Return the map at ``path``, empty if it is missing; raises :class:`SpecError` for any other type."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise SpecError(path, f"give a map of fields, not {value!r}")
    return dict(value)


def integer(path: str, fields: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    """Return the integer ``name`` of the map at ``path``; raises :class:`SpecError` outside ``low`` to ``high``."""
    value = fields.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise SpecError(f"{path}.{name}", f"give a whole number from {low} to {high}, not {value!r}")
    return value


def choice(kind: type[E], path: str, value: object) -> E:
    """Return the member of the enum ``kind``; raises :class:`SpecError` for an unknown value."""
    for one in kind:
        if one == value:
            return one
    raise SpecError(path, f"this version knows {', '.join(kind)}, not {value!r}")

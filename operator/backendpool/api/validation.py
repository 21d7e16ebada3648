"""Fields of a document of unknown content, read as what they should be. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from backendpool.errors import SpecError

E = TypeVar("E", bound=StrEnum)


def mapping(path: str, value: object) -> dict[str, Any]:
    """The map at ``path``, empty where there is none; raises :class:`SpecError` for anything else."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise SpecError(path, f"give a map of fields, not {value!r}")
    return dict(value)


def integer(path: str, fields: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    """The whole number ``name`` of the map at ``path``; raises :class:`SpecError` outside ``low`` to ``high``."""
    value = fields.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise SpecError(f"{path}.{name}", f"give a whole number from {low} to {high}, not {value!r}")
    return value


def choice(kind: type[E], path: str, value: object) -> E:
    """The member of ``kind`` that stands at ``path``; raises :class:`SpecError` for what this version does not know."""
    for one in kind:
        if one == value:
            return one
    raise SpecError(path, f"this version knows {', '.join(kind)}, not {value!r}")

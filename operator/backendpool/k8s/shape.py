"""Whether what was answered has the shape that all who read it take for granted. Pure, no I/O.

What has another one was cut on its way, or written by something between us and the API server. It must end a request,
and not the program.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from backendpool.errors import Malformed
from backendpool.k8s.request import Document


def document_in(body: bytes) -> Document:
    """The JSON document that ``body`` is."""
    try:
        document = _decoded(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise Malformed(f"no JSON document: {body[:80]!r}")
    return document


_DEEPEST: Final = 256
"""Levels of a document that is read: no kind that we read has a tenth of them."""

_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    # The API server stores managed fields of up to 10,000 levels, which anybody can write who may change an object.
    # They must not hide the thousand objects in whose list they are.
    except RecursionError:
        return json.loads(b"".join(_without_depths(body)))


def _without_depths(body: bytes) -> Iterator[bytes]:
    """The parts of ``body`` that remain where each value below :data:`_DEEPEST` levels is replaced by ``null``."""
    level, begun = 0, 0
    for token in _TOKEN.finditer(body):
        if token[0] in (b"{", b"["):
            level += 1
            if level == _DEEPEST:
                yield body[begun : token.start()]
        elif token[0] in (b"}", b"]"):
            if level == _DEEPEST:
                yield b"null"
                begun = token.end()
            level -= 1
    yield body[begun:] if level < _DEEPEST else b""


def object_in(document: Any) -> Document:
    """``document``, if it is an object of a namespaced kind: it has a namespace, a name, a uid and a version."""
    meta = metadata_of(document)
    texts = (meta.get("namespace"), meta.get("name"), meta.get("uid"))
    maps = (meta.get("labels") or {}, meta.get("annotations") or {})
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(one, dict) for one in maps):
        raise Malformed(f"no object of the API: {str(document)[:80]}")
    found: Document = document
    return found


def list_in(document: Document) -> Document:
    """``document``, if it is a page of a list; its ``items`` are there, be it none."""
    token, items = metadata_of(document).get("continue", ""), document.get("items") or []
    if not isinstance(items, list) or not isinstance(token, str):
        raise Malformed(f"no list: {str(document)[:80]}")
    return {**document, "items": [object_in(item) for item in items]}


def metadata_of(document: object) -> Document:
    """What each object, list and bookmark has: metadata with a version, which is a number (KEP-5504)."""
    meta = document.get("metadata") if isinstance(document, dict) else None
    version = meta.get("resourceVersion") if isinstance(meta, dict) else None
    if not isinstance(meta, dict) or not isinstance(version, str) or not version.isdecimal():
        raise Malformed(f"no resource version: {str(document)[:80]}")
    return meta


def names_in(items: Any) -> list[str]:
    """The names of what a discovery document lists; none where it lists nothing that is to be understood."""
    found = items if isinstance(items, list) else []
    return [item["name"] for item in found if isinstance(item, dict) and isinstance(item.get("name"), str)]

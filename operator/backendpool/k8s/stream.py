"""The body of a watch: JSON documents, one a line, without a limit to a line's length."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Final

from backendpool.errors import ClusterError, Malformed
from backendpool.k8s.failures import error_of
from backendpool.k8s.request import Document
from backendpool.k8s.shape import document_in, metadata_of, object_in

KINDS: Final = ("ADDED", "MODIFIED", "DELETED", "BOOKMARK")
"""Of events that tell of something."""


async def lines(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Each line, without its end; what stands after the last line end comes last.

    Objects may be larger than the 64 KiB that line readers take as their limit (an etcd value may have 1.5 MiB).
    """
    begun: list[bytes] = []
    async for chunk in chunks:
        first, *rest = chunk.split(b"\n")
        begun.append(first)
        for part in rest:
            yield b"".join(begun)
            begun = [part]
    if any(begun):
        yield b"".join(begun)


def decode_event(line: bytes) -> Document:
    """One watch event: its ``type``, one of :data:`KINDS`, and its ``object``; a bookmark's has a version only.

    Raises the :class:`ApiError` that an ERROR event carries, and :class:`Malformed` for what is no event.
    """
    event = document_in(line)
    kind, obj = event.get("type"), event.get("object")
    if kind == "ERROR":
        raise _error_in(obj)
    if kind not in KINDS:
        raise Malformed(f"no watch event: {line[:80]!r}")
    if kind == "BOOKMARK":
        metadata_of(obj)
    else:
        object_in(obj)
    return event


def _error_in(obj: object) -> ClusterError:
    code = obj.get("code") if isinstance(obj, dict) else None
    if not isinstance(obj, dict) or not isinstance(code, int):
        return Malformed(f"no error in an ERROR event: {str(obj)[:80]}")
    return error_of(obj, code)

"""The body of a watch: JSON documents, one a line, without a limit to a line's length."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from backendpool.cluster.failures import error_of
from backendpool.errors import Unreachable


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


def decode_event(line: bytes) -> dict[str, Any]:
    """One watch event: its ``type``, and its ``object`` with a resource version.

    Raises the :class:`ApiError` that an ERROR event carries, and :class:`Unreachable` for what is no event:
    the connection was cut within it, or something between us and the API server wrote it.
    """
    try:
        event: dict[str, Any] = json.loads(line)
        kind, obj = event["type"], event["object"]
        if kind != "ERROR":
            obj["metadata"]["resourceVersion"]
            return event
        status = int(obj["code"])
    except (ValueError, KeyError, TypeError) as error:
        raise Unreachable(f"the watch sent what is no event: {line[:80]!r}") from error
    raise error_of(obj, status)

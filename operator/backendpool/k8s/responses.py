"""Responses of the API server: validated JSON documents, watch events and errors.

A response that does not have the expected shape was truncated, or written by something between us and the API server.
It fails the request with :class:`~backendpool.errors.Malformed`, and not the program.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import aiohttp

from backendpool.errors import (
    ApiError,
    ClusterError,
    Conflict,
    Forbidden,
    Gone,
    Malformed,
    NotFound,
    Stalled,
    TooManyRequests,
    Unauthorized,
    Unreachable,
)
from backendpool.k8s.access import CredentialsError
from backendpool.k8s.request import Document

EVENT_TYPES: Final = ("ADDED", "MODIFIED", "DELETED", "BOOKMARK")
"""The types of watch events, except ERROR."""

_BY_STATUS: Mapping[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    429: TooManyRequests,
}
_LONGEST_TEXT: Final = 200
"""Characters of a response that is no Status document."""
_LONGEST_WAIT: Final = 30.0
"""Seconds: longer waits that a server asks for are cut to this."""

_DEEPEST: Final = 256
"""Levels of nesting that are kept: no kind that is read has a tenth of them."""

_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def document_in(body: bytes) -> Document:
    """Parse a JSON object."""
    try:
        document = _decode(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise Malformed(f"no JSON document: {body[:80]!r}")
    return document


def object_in(document: Any) -> Document:
    """Validate an object of a namespaced kind: it has a namespace, name, uid and resource version."""
    meta = metadata_of(document)
    texts = (meta.get("namespace"), meta.get("name"), meta.get("uid"))
    maps = (meta.get("labels") or {}, meta.get("annotations") or {})
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(one, dict) for one in maps):
        raise Malformed(f"no object of the API: {str(document)[:80]}")
    found: Document = document
    return found


def list_in(document: Document) -> Document:
    """Validate a page of a list; ``items`` is always present."""
    token, items = metadata_of(document).get("continue", ""), document.get("items") or []
    if not isinstance(items, list) or not isinstance(token, str):
        raise Malformed(f"no list: {str(document)[:80]}")
    return {**document, "items": [object_in(item) for item in items]}


def metadata_of(document: object) -> Document:
    """Validate the metadata of an object, list or bookmark: resource versions are numbers (KEP-5504)."""
    meta = document.get("metadata") if isinstance(document, dict) else None
    version = meta.get("resourceVersion") if isinstance(meta, dict) else None
    if not isinstance(meta, dict) or not isinstance(version, str) or not version.isdecimal():
        raise Malformed(f"no resource version: {str(document)[:80]}")
    return meta


def names_in(items: Any) -> list[str]:
    """Return the names in a list of a discovery document; empty if it is malformed."""
    found = items if isinstance(items, list) else []
    return [item["name"] for item in found if isinstance(item, dict) and isinstance(item.get("name"), str)]


async def lines(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Split the body of a watch into lines of any length; an unterminated last line counts.

    Objects may be larger than the 64 KiB limit of line readers (etcd allows 1.5 MiB).
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
    """Parse a watch event: its ``type``, one of :data:`EVENT_TYPES`, and its ``object``; a bookmark only has a version.

    Raises the :class:`ApiError` of an ERROR event, and :class:`Malformed`.
    """
    event = document_in(line)
    kind, obj = event.get("type"), event.get("object")
    if kind == "ERROR":
        raise _error_in(obj)
    if kind not in EVENT_TYPES:
        raise Malformed(f"no watch event: {line[:80]!r}")
    if kind == "BOOKMARK":
        metadata_of(obj)
    else:
        object_in(obj)
    return event


@contextmanager
def map_transport_errors(what: str) -> Iterator[None]:
    """Raise :class:`Unreachable` for transport errors; name ``what`` was tried in those of a broken response too."""
    try:
        yield
    except (Malformed, Stalled) as error:
        raise type(error)(f"{what}: {error}") from error
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise unreachable(what, error) from error
    except CredentialsError as error:
        raise Unreachable(f"{what}: the credentials cannot be read: {error}") from error


def unreachable(what: str, error: Exception) -> Unreachable:
    """Return the error for a request that got no response."""
    return Unreachable(f"{what}: {str(error) or 'no response in time'}")


async def error_response(response: aiohttp.ClientResponse) -> ApiError:
    """Return the error for a response with a status of 400 or more."""
    body = await response.read()
    try:
        document = document_in(body)
    except Malformed:
        # Written by a proxy, or the API server has no such path, usually because the kind's CRD is not installed.
        text = body.decode(errors="replace").strip()[:_LONGEST_TEXT]
        document = {"message": f"{response.method} {response.url.path}: {text}"}
    return error_from_status(document, response.status, response.reason or "", response.headers.get("Retry-After"))


def error_from_status(
    document: Mapping[str, Any], status: int, reason: str = "", retry_after: str | None = None
) -> ApiError:
    """Return the error for a ``Status`` document, with defaults for missing fields."""
    kind = _BY_STATUS.get(status, ApiError)
    details = document.get("details")
    hint = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    wish = _seconds(retry_after)
    return kind(
        status,
        str(document.get("reason") or reason or "Unknown"),
        str(document.get("message") or "the response gives no reason"),
        _seconds(hint) if wish is None else wish,
    )


def _error_in(obj: object) -> ClusterError:
    code = obj.get("code") if isinstance(obj, dict) else None
    if not isinstance(obj, dict) or not isinstance(code, int):
        return Malformed(f"no error in an ERROR event: {str(obj)[:80]}")
    return error_from_status(obj, code)


def _seconds(wish: object) -> float | None:
    """Parse and limit a number of seconds. API servers never send the other form of Retry-After, a date."""
    text = str(wish)
    return min(float(text), _LONGEST_WAIT) if text.isdecimal() else None


def _decode(body: bytes) -> Any:
    try:
        return json.loads(body)
    # The API server stores managed fields of up to 10,000 levels, which anybody who may change an object can write.
    # They must not make a whole list unreadable.
    except RecursionError:
        return json.loads(b"".join(_truncate_depth(body)))


def _truncate_depth(body: bytes) -> Iterator[bytes]:
    """Replace each value below :data:`_DEEPEST` levels by ``null``; yields the parts of the body."""
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

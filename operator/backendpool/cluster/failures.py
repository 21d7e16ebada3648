"""From what goes wrong on the wire to the errors of :mod:`backendpool.errors`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import aiohttp
from kubernetes.aio.config import ConfigException

from backendpool.errors import (
    ApiError,
    Conflict,
    Forbidden,
    Gone,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unreachable,
)

_BY_STATUS: Mapping[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    429: TooManyRequests,
}
_LONGEST_TEXT = 200  # characters of an answer that is no Status document


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise :class:`Unreachable` for all that keeps an answer from coming; ``what`` was being tried."""
    try:
        yield
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise unreachable(what, error) from error
    except ConfigException as error:
        # The client reads the token's file again while it builds a request.
        raise Unreachable(f"{what}: the credentials cannot be read: {error}") from error


def unreachable(what: str, error: Exception) -> Unreachable:
    """The error for what kept an answer from coming."""
    return Unreachable(f"{what}: {str(error) or 'no answer in time'}")


async def refusal(response: aiohttp.ClientResponse) -> ApiError:
    """The error for an answer with a status of 400 or more."""
    body = await response.read()
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        # A proxy wrote it, or the API server has no such path: the kind's CRD is not installed, as a rule.
        text = body.decode(errors="replace").strip()[:_LONGEST_TEXT]
        document = {"message": f"{response.method} {response.url.path}: {text}"}
    return error_of(document, response.status, response.reason or "", _seconds(response.headers.get("Retry-After")))


def error_of(document: Mapping[str, Any], status: int, reason: str = "", retry_after: float | None = None) -> ApiError:
    """The error that a ``Status`` document speaks of, with defaults for what it leaves out."""
    kind = _BY_STATUS.get(status, ApiError)
    hint = (document.get("details") or {}).get("retryAfterSeconds")
    return kind(
        status,
        document.get("reason") or reason or "Unknown",
        document.get("message") or "the answer gives no reason",
        hint if retry_after is None else retry_after,
    )


def _seconds(retry_after: str | None) -> float | None:
    """The header's number of seconds; its other form, a date, is one that no API server sends."""
    return float(retry_after) if retry_after and retry_after.isdecimal() else None

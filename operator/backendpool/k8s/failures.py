"""From what goes wrong on the wire to the errors of :mod:`backendpool.errors`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import aiohttp

from backendpool.errors import (
    ApiError,
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
from backendpool.k8s.shape import document_in

_BY_STATUS: Mapping[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    429: TooManyRequests,
}
_LONGEST_TEXT = 200  # characters of an answer that is no Status document
_LONGEST_WAIT = 30.0  # seconds: no server knows better than that for how long to leave it alone


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise :class:`Unreachable` for all that keeps an answer from coming; ``what`` was being tried.

    What is wrong with an answer that did begin says so as well.
    """
    try:
        yield
    except (Malformed, Stalled) as error:
        raise type(error)(f"{what}: {error}") from error
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise unreachable(what, error) from error
    except CredentialsError as error:
        raise Unreachable(f"{what}: the credentials cannot be read: {error}") from error


def unreachable(what: str, error: Exception) -> Unreachable:
    """The error for what kept an answer from coming."""
    return Unreachable(f"{what}: {str(error) or 'no answer in time'}")


async def refusal(response: aiohttp.ClientResponse) -> ApiError:
    """The error for an answer with a status of 400 or more."""
    body = await response.read()
    try:
        document = document_in(body)
    except Malformed:
        # A proxy wrote it, or the API server has no such path: the kind's CRD is not installed, as a rule.
        text = body.decode(errors="replace").strip()[:_LONGEST_TEXT]
        document = {"message": f"{response.method} {response.url.path}: {text}"}
    return error_of(document, response.status, response.reason or "", response.headers.get("Retry-After"))


def error_of(document: Mapping[str, Any], status: int, reason: str = "", retry_after: str | None = None) -> ApiError:
    """The error that a ``Status`` document speaks of, with defaults for what it leaves out."""
    kind = _BY_STATUS.get(status, ApiError)
    details = document.get("details")
    hint = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    wish = _seconds(retry_after)
    return kind(
        status,
        str(document.get("reason") or reason or "Unknown"),
        str(document.get("message") or "the answer gives no reason"),
        _seconds(hint) if wish is None else wish,
    )


def _seconds(wish: object) -> float | None:
    """A number of seconds, within reason; the header's other form, a date, is one that no API server sends."""
    text = str(wish)
    return min(float(text), _LONGEST_WAIT) if text.isdecimal() else None

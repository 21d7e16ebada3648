"""Errors as JSON problems (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from grpc import StatusCode
from grpc.aio import AioRpcError

CONTENT_TYPE: Final = "application/problem+json"

RETRY_AFTER_SECONDS: Final = 1
"""A new or recovered backend is usually available after this time."""

_STATUSES: Final = {
    StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    StatusCode.CANCELLED: HTTPStatus.SERVICE_UNAVAILABLE,  # a server cancels calls that reach it while it stops
    StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.SERVICE_UNAVAILABLE,
    StatusCode.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
}


class Problem(Exception):
    """An error response.

    ``detail`` is a sentence for the caller. ``errors`` has a message for each invalid field, keyed by the field's JSON
    pointer fragment, as in the example of RFC 9457.
    """

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        errors: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors or {}
        self.headers = headers or {}

    def document(self) -> dict[str, Any]:
        """Return the JSON document. Its type is about:blank, since the HTTP status already is the type of problem."""
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = [{"detail": text, "pointer": pointer} for pointer, text in self.errors.items()]
        return document

    def response(self) -> web.Response:
        return web.Response(
            status=self.status, body=json.dumps(self.document()), content_type=CONTENT_TYPE, headers=self.headers
        )


def no_backend(detail: str) -> Problem:
    """Return a 503 with Retry-After: no backend is available at the moment."""
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=headers)


def failed_call(error: AioRpcError) -> Problem:
    """Return the problem for a failed call to a greet server; 502 if no other HTTP status fits."""
    if error.code() is StatusCode.INVALID_ARGUMENT:
        return Problem(HTTPStatus.BAD_REQUEST, _ending("greet server", error))
    return _failed("greet server", error)


def failed_lookup(error: AioRpcError) -> Problem:
    """Return the problem for a failed Resolve. It is never 4xx, since the gateway made the request, not the caller."""
    return _failed("lookaside", error)


def _failed(party: str, error: AioRpcError) -> Problem:
    status = _STATUSES.get(error.code(), HTTPStatus.BAD_GATEWAY)
    detail = _ending(party, error)
    return no_backend(detail) if status is HTTPStatus.SERVICE_UNAVAILABLE else Problem(status, detail)


def _ending(party: str, error: AioRpcError) -> str:
    # Do not say that the party responded so: gRPC itself may have made the status, and a client cannot tell.
    return f"the call to the {party} failed with {error.code().name}: {error.details() or 'no details'}"

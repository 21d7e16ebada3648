"""What went wrong, as a JSON problem (RFC 9457)."""

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
"""A pod that starts, or takes over, is seen within about so long."""

_STATUSES: Final = {
    StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    StatusCode.CANCELLED: HTTPStatus.SERVICE_UNAVAILABLE,  # by a server that a call reaches just as it stops
    StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.SERVICE_UNAVAILABLE,
    StatusCode.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
}


class Problem(Exception):
    """An answer other than a greeting.

    ``detail`` is a sentence for the caller; ``errors`` names each field that is wrong, by a JSON pointer
    fragment, as in RFC 9457's own example.
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
        """The JSON document: about:blank, since the status says all that a type would."""
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
    """Nobody could take the call; somebody may in a moment."""
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=headers)


def failed_call(error: AioRpcError) -> Problem:
    """The greet server's own refusal, or the lack of an answer: 502 for what the gateway cannot put better."""
    if error.code() is StatusCode.INVALID_ARGUMENT:
        return Problem(HTTPStatus.BAD_REQUEST, _ending("greet server", error))
    return _failed("greet server", error)


def failed_lookup(error: AioRpcError) -> Problem:
    """No address for a call: never the caller's fault, for the question to the lookaside is the gateway's."""
    return _failed("lookaside", error)


def _failed(party: str, error: AioRpcError) -> Problem:
    status = _STATUSES.get(error.code(), HTTPStatus.BAD_GATEWAY)
    detail = _ending(party, error)
    return no_backend(detail) if status is HTTPStatus.SERVICE_UNAVAILABLE else Problem(status, detail)


def _ending(party: str, error: AioRpcError) -> str:
    """Be the status the server's or that of gRPC itself, which nobody can tell."""
    return f"the call to the {party} ended with {error.code().name}: {error.details() or 'it says no more'}"

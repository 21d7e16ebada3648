"""The gateway's HTTP: ``POST /greet``, and ``/healthz``, ``/readyz`` and ``/metrics`` beside it.

Whatever happens to a request, its answer is one of: a greeting, or a JSON problem that says what to do. What is no
HTTP at all gets no further than aiohttp, which answers 400 in plain text and hangs up.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from aiohttp import HttpVersion11, web
from grpc.aio import AioRpcError
from prometheus_client import CollectorRegistry

from backendpool.errors import NoBackendError
from backendpool.runtime.observability import add_routes
from greet.gateway import deadline
from greet.gateway.greeter import Greeter, LookupFailed
from greet.gateway.greeting import parse_greeting
from greet.gateway.metrics import GatewayMetrics
from greet.gateway.problems import Problem, failed_call, failed_lookup, no_backend
from greet.greet_pb2 import GreetingRequest

log = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 64 * 1024

_CONTINUE: Final = "100-continue"
"""The one expectation that HTTP knows (RFC 9110, section 10.1.1)."""

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_OWN_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked by the platform, over and over: counted as requests, they would hide the callers' own."""


class Gateway:
    """Greets over ``greeter``; a call that brings no deadline has ``timeout`` seconds."""

    def __init__(self, greeter: Greeter, timeout: float) -> None:
        self.stopping = False
        self._greeter = greeter
        self._timeout = timeout

    def unready(self) -> str | None:
        """Why no request should come here, in a sentence; None where one may."""
        return "stopping" if self.stopping else self._greeter.unready()

    async def greet(self, request: web.Request) -> web.Response:
        """``POST /greet``."""
        timeout = self._timeout_of(request)
        call = await _read(request)
        try:
            answer = await self._greeter.greet(call, timeout)
        except NoBackendError as error:
            raise no_backend(str(error)) from error
        except LookupFailed as error:
            raise failed_lookup(error.error) from error
        except AioRpcError as error:
            raise failed_call(error) from error
        return web.Response(text=f"response from Greet rpc: {answer.Result}")

    def _timeout_of(self, request: web.Request) -> float:
        text = request.headers.get(deadline.HEADER)
        if text is None:
            return self._timeout
        try:
            return deadline.parse_timeout(text)
        except ValueError as error:
            raise Problem(HTTPStatus.BAD_REQUEST, f"{deadline.HEADER}: {error}") from error


def application(gateway: Gateway, metrics: GatewayMetrics, registry: CollectorRegistry) -> web.Application:
    """All routes; ``registry`` is what ``/metrics`` shows."""
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_counted(gateway, metrics), _answered])
    app.router.add_post("/greet", gateway.greet, expect_handler=_expect)
    add_routes(app, registry, healthy=lambda: None, ready=gateway.unready)
    return app


async def _expect(request: web.Request) -> None:
    """Let who asks send the body. Other expectations are left to the handler: aiohttp would refuse in plain text."""
    if _expectation(request) == _CONTINUE and request.version == HttpVersion11 and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _expectation(request: web.Request) -> str:
    return request.headers.get("Expect", _CONTINUE).lower()


async def _read(request: web.Request) -> GreetingRequest:
    if _expectation(request) != _CONTINUE:
        detail = "nothing but 100-continue can be expected here: send the request without its Expect header"
        raise Problem(HTTPStatus.EXPECTATION_FAILED, detail)
    if request.content_type != "application/json":
        detail = "the body is to be JSON: send it with Content-Type: application/json"
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers={"Accept": "application/json"})
    if request.headers.get("Content-Encoding", "identity") != "identity":
        detail = "the body is not to be compressed: send it without Content-Encoding"
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers={"Accept-Encoding": "identity"})
    try:
        return parse_greeting(await request.read())
    except web.RequestPayloadError as error:
        detail = f"the body cannot be read ({error}): send it whole, and as its headers say"
        raise Problem(HTTPStatus.BAD_REQUEST, detail) from error


def _counted(gateway: Gateway, metrics: GatewayMetrics) -> Callable[..., Awaitable[web.StreamResponse]]:
    @web.middleware
    async def middleware(request: web.Request, handler: _Handler) -> web.StreamResponse:
        begun = time.perf_counter()
        response = await handler(request)
        if request.path not in _OWN_PATHS:
            metrics.answered(response.status, time.perf_counter() - begun)
        if gateway.stopping:
            # Whoever holds a connection makes its next one elsewhere, before this end is closed.
            response.force_close()
        return response

    return middleware


@web.middleware
async def _answered(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Every outcome that is no answer yet, as a problem."""
    try:
        return await handler(request)
    except Problem as problem:
        return problem.response()
    except web.HTTPException as error:
        return _translated(request, error).response()
    # One request that nobody foresaw must not be answered by a traceback, nor by nothing.
    except Exception:
        log.exception("Unexpected error, responding with 500", extra={"method": request.method, "path": request.path})
        return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the gateway failed: its log says why").response()


def _translated(request: web.Request, error: web.HTTPException) -> Problem:
    """aiohttp's own refusals."""
    status = HTTPStatus(error.status)
    match error:
        case web.HTTPNotFound():
            return Problem(status, f"there is nothing at {request.path}: POST /greet is what this server is for")
        case web.HTTPMethodNotAllowed():
            allow = ", ".join(sorted(error.allowed_methods))
            return Problem(
                status, f"{request.path} does not take {request.method}: use {allow}", headers={"Allow": allow}
            )
        case web.HTTPRequestEntityTooLarge():
            return Problem(status, f"the body is too large: send at most {MAX_BODY_BYTES} bytes")
        case _:
            return Problem(status, error.reason)

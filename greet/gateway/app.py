"""The gateway's HTTP routes: ``POST /greet``, ``/healthz``, ``/readyz`` and ``/metrics``.

The response to ``POST /greet`` is either a greeting or a JSON problem that says what to do. If the bytes are not
HTTP, aiohttp itself responds with 400 in plain text and closes the connection.
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
"""The only value of ``Expect`` that HTTP defines (RFC 9110, section 10.1.1)."""

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_OWN_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Probes and scrapes. They are not counted as requests, since they would outnumber those of callers."""


class Gateway:
    """HTTP handlers over ``greeter``. ``timeout`` is the deadline in seconds of requests that set none."""

    def __init__(self, greeter: Greeter, timeout: float) -> None:
        self.stopping = False
        self._greeter = greeter
        self._timeout = timeout

    def unready(self) -> str | None:
        """Return why the gateway is not ready, or None."""
        return "stopping" if self.stopping else self._greeter.unready()

    async def greet(self, request: web.Request) -> web.Response:
        """Handle ``POST /greet``."""
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
            raise Problem(HTTPStatus.BAD_REQUEST, str(error)) from error


def application(gateway: Gateway, metrics: GatewayMetrics, registry: CollectorRegistry) -> web.Application:
    """Return the application with all routes. ``/metrics`` serves the metrics in ``registry``."""
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_counted(gateway, metrics), _answered])
    app.router.add_post("/greet", gateway.greet, expect_handler=_expect)
    add_routes(app, registry, healthy=lambda: None, ready=gateway.unready)
    return app


async def _expect(request: web.Request) -> None:
    """Confirm ``Expect: 100-continue``. The handler rejects other values with a problem, aiohttp in plain text."""
    if _expectation(request) == _CONTINUE and request.version == HttpVersion11 and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _expectation(request: web.Request) -> str:
    return request.headers.get("Expect", _CONTINUE).lower()


async def _read(request: web.Request) -> GreetingRequest:
    if _expectation(request) != _CONTINUE:
        detail = "unsupported expectation: send the request without its Expect header"
        raise Problem(HTTPStatus.EXPECTATION_FAILED, detail)
    if request.content_type != "application/json":
        detail = "unsupported content type: send JSON with Content-Type: application/json"
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers={"Accept": "application/json"})
    if request.headers.get("Content-Encoding", "identity") != "identity":
        detail = "unsupported content encoding: send the body uncompressed, without Content-Encoding"
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers={"Accept-Encoding": "identity"})
    try:
        return parse_greeting(await request.read())
    except web.RequestPayloadError as error:
        detail = f"the body cannot be read ({error}): send a complete body that matches its headers"
        raise Problem(HTTPStatus.BAD_REQUEST, detail) from error


def _counted(gateway: Gateway, metrics: GatewayMetrics) -> Callable[..., Awaitable[web.StreamResponse]]:
    @web.middleware
    async def middleware(request: web.Request, handler: _Handler) -> web.StreamResponse:
        begun = time.perf_counter()
        response = await handler(request)
        if request.path not in _OWN_PATHS:
            metrics.answered(response.status, time.perf_counter() - begun)
        if gateway.stopping:
            # The client then opens its next connection to another pod, before this one closes.
            response.force_close()
        return response

    return middleware


@web.middleware
async def _answered(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Turn every exception of a handler into a problem."""
    try:
        return await handler(request)
    except Problem as problem:
        return problem.response()
    except web.HTTPException as error:
        return _translated(request, error).response()
    # An unexpected error must give the caller neither a traceback nor an empty response.
    except Exception:
        log.exception("Unexpected error, responding with 500", extra={"method": request.method, "path": request.path})
        return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error: see the log of the gateway").response()


def _translated(request: web.Request, error: web.HTTPException) -> Problem:
    """Return the problem for an error that aiohttp raised, such as 404."""
    status = HTTPStatus(error.status)
    match error:
        case web.HTTPNotFound():
            return Problem(status, f"unknown path {request.path}: use POST /greet")
        case web.HTTPMethodNotAllowed():
            allow = ", ".join(sorted(error.allowed_methods))
            return Problem(
                status, f"{request.path} does not support {request.method}: use {allow}", headers={"Allow": allow}
            )
        case web.HTTPRequestEntityTooLarge():
            return Problem(status, f"the body is too large: send at most {MAX_BODY_BYTES} bytes")
        case _:
            return Problem(status, error.reason)

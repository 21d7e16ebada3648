"""HTTP responses of the gateway: every request gets a greeting, or a problem that says what to do."""

from __future__ import annotations

import asyncio
import gzip
import socket
from typing import Any

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from backendpool.errors import NoBackendError, SettingsError
from greet.gateway.app import MAX_BODY_BYTES
from greet.gateway.deadline import MAX_SECONDS
from greet.gateway.greeter import LookupFailed
from greet.gateway.metrics import GatewayMetrics
from greet.gateway.server import serving
from greet.settings import GatewaySettings
from tests.unit.greet.gateways import JSON, LOOPBACK, PERSON, Client, ScriptedGreeter, gateway


def rpc_error(code: grpc.StatusCode, details: str = "out of order") -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata(), details=details)


async def test_greeting_is_answered_as_text() -> None:
    """The response is exactly the text that existing clients expect."""
    async with gateway(ScriptedGreeter()) as client:
        answer = await client.greet()
        assert (answer.status, answer.text) == (200, "response from Greet rpc: Hello, Ada Lovelace.")
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
async def test_content_type_may_have_parameters(content_type: str) -> None:
    """The media type is compared without case and without its parameters."""
    async with gateway(ScriptedGreeter()) as client:
        assert (await client.greet(Content_Type=content_type)).status == 200


async def test_faulty_field_is_pointed_to() -> None:
    """The problem lists each invalid field by its JSON pointer (RFC 9457, section 3)."""
    async with gateway(ScriptedGreeter()) as client:
        answer = await client.greet(b'{"first_name": "Ada"}')
        assert answer.status == 422
        (error,) = answer.problem["errors"]
        assert error["pointer"] == "#/last_name"
        assert answer.problem["detail"].startswith("last_name is missing")


async def test_bad_json_is_a_bad_request() -> None:
    """A body that is not JSON is rejected with the reason."""
    async with gateway(ScriptedGreeter()) as client:
        answer = await client.greet(b"{")
        assert answer.status == 400
        assert "cannot be read as JSON" in answer.problem["detail"]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "json", ""])
async def test_other_content_types_are_refused(content_type: str) -> None:
    """Only JSON is accepted, and the response says so (RFC 9110, section 15.5.16)."""
    async with gateway(ScriptedGreeter()) as client:
        answer = await client.greet(Content_Type=content_type)
        assert answer.status == 415
        assert answer.headers["Accept"] == "application/json"
        assert "Content-Type: application/json" in answer.problem["detail"]


async def test_compressed_body_is_refused() -> None:
    """A compressed body is rejected, since it could expand beyond the size limit."""
    async with gateway(ScriptedGreeter()) as client:
        answer = await client.greet(gzip.compress(PERSON), Content_Encoding="gzip")
        assert answer.status == 415
        assert answer.headers["Accept-Encoding"] == "identity"
        assert "without Content-Encoding" in answer.problem["detail"]


@pytest.mark.parametrize("chunked", [True, False])
async def test_too_large_a_body_is_refused(chunked: bool) -> None:
    """A body of 64 KiB is accepted and one byte more is rejected, with or without Content-Length."""

    def sent(size: int) -> Any:
        body = b'{"first_name": "Ada", "last_name": "%s"}' % (b"x" * (size - 38))
        assert len(body) == size
        return in_chunks(body) if chunked else body

    async with gateway(ScriptedGreeter()) as client:
        assert (await client.greet(sent(MAX_BODY_BYTES))).status == 200
        answer = await client.greet(sent(MAX_BODY_BYTES + 1))
        assert answer.status == 413
        assert answer.problem["detail"] == "the body is too large: send at most 65536 bytes"


async def in_chunks(body: bytes) -> Any:
    for begin in range(0, len(body), 8192):
        yield body[begin : begin + 8192]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_are_refused(method: str) -> None:
    """The response names the allowed method (RFC 9110, section 15.5.6)."""
    async with gateway(ScriptedGreeter()) as client:
        answer = await client.ask(method, "/greet")
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        assert answer.problem["detail"] == f"/greet does not support {method}: use POST"


@pytest.mark.parametrize("path", ["/", "/greet/", "/greet/me", "/metrics/x"])
async def test_other_paths_are_not_found(path: str) -> None:
    """The response to an unknown path names the path that exists."""
    async with gateway(ScriptedGreeter()) as client:
        answer = await client.ask("POST", path, PERSON, JSON)
        assert answer.status == 404
        assert answer.problem["detail"] == f"unknown path {path}: use POST /greet"


async def test_deadline_comes_from_the_header() -> None:
    """grpc-timeout sets the call's deadline, up to the maximum; without it, the setting applies."""
    greeter = ScriptedGreeter()
    async with gateway(greeter, timeout=3.0) as client:
        for headers in ({}, {"grpc_timeout": "250m"}, {"grpc_timeout": "99999999H"}):
            assert (await client.greet(**headers)).status == 200
    assert greeter.timeouts == [3.0, 0.25, MAX_SECONDS]


@pytest.mark.parametrize("value", ["", "soon", "1", "0S", "1 S", "123456789S"])
async def test_malformed_deadline_is_a_bad_request(value: str) -> None:
    """A malformed deadline is rejected, not ignored, and no backend is called."""
    greeter = ScriptedGreeter()
    async with gateway(greeter) as client:
        answer = await client.greet(grpc_timeout=value)
        assert answer.status == 400
        assert answer.problem["detail"].startswith("invalid grpc-timeout ")
    assert greeter.timeouts == []


async def test_no_backend_is_unavailable_for_now() -> None:
    """Without a backend, the response says why and when to retry."""
    async with gateway(ScriptedGreeter(NoBackendError("the pool ns/who has no endpoint"))) as client:
        answer = await client.greet()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert answer.problem["detail"] == "the pool ns/who has no endpoint"


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
async def test_failed_call_has_its_status(code: grpc.StatusCode) -> None:
    """Each gRPC status code is mapped to an HTTP status."""
    expected = {
        grpc.StatusCode.INVALID_ARGUMENT: 400,
        grpc.StatusCode.UNAVAILABLE: 503,
        grpc.StatusCode.CANCELLED: 503,
        grpc.StatusCode.RESOURCE_EXHAUSTED: 503,
        grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    }.get(code, 502)
    async with gateway(ScriptedGreeter(rpc_error(code))) as client:
        answer = await client.greet()
        assert answer.status == expected
        assert answer.problem["detail"] == f"the call to the greet server failed with {code.name}: out of order"
        assert ("Retry-After" in answer.headers) == (expected == 503)


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
async def test_failed_lookup_is_not_the_callers_fault(code: grpc.StatusCode) -> None:
    """An error of the lookaside is never the caller's fault: the response is 5xx and names the lookaside."""
    expected = {
        grpc.StatusCode.UNAVAILABLE: 503,
        grpc.StatusCode.CANCELLED: 503,
        grpc.StatusCode.RESOURCE_EXHAUSTED: 503,
        grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    }.get(code, 502)
    async with gateway(ScriptedGreeter(LookupFailed(rpc_error(code)))) as client:
        answer = await client.greet()
        assert answer.status == expected
        assert answer.problem["detail"] == f"the call to the lookaside failed with {code.name}: out of order"
        assert ("Retry-After" in answer.headers) == (expected == 503)


async def test_unforeseen_error_is_a_problem_too(caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected error is logged, and the caller gets no traceback; the next request is served."""
    greeter = ScriptedGreeter(ZeroDivisionError("secret"))
    async with gateway(greeter) as client:
        answer = await client.greet()
        assert answer.status == 500
        assert "secret" not in answer.text
        assert answer.problem["detail"] == "internal error: see the log of the gateway"
        assert "ZeroDivisionError: secret" in caplog.text
        greeter.failure = None
        assert (await client.greet()).status == 200


@pytest.mark.parametrize(("expect", "status"), [("100-continue", 200), ("100-Continue", 200), ("miracles", 417)])
async def test_expectations(expect: str, status: int) -> None:
    """Expect: 100-continue is confirmed; any other expectation gets a 417 with a problem."""
    async with gateway(ScriptedGreeter()) as client:
        answer = await client.greet(Expect=expect)
        assert answer.status == status
        if status == 417:
            assert "without its Expect header" in answer.problem["detail"]
        scrape = await client.ask("GET", "/metrics")
    assert f'greet_gateway_requests_total{{code="{status}"}} 1.0' in scrape.text


async def test_garbage_does_not_end_the_gateway() -> None:
    """Bytes that are not HTTP, and a truncated body, break only their own connection."""
    post = b"POST /greet HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    async with gateway(ScriptedGreeter()) as client:
        for garbage in (
            b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
            post + b"Content-Length: 50\r\n\r\n{",
            post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        ):
            reader, writer = await asyncio.open_connection(LOOPBACK, client.port)
            writer.write(garbage)
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 5)
            writer.close()
            await writer.wait_closed()
        assert (await client.greet()).status == 200


async def test_health_and_readiness() -> None:
    """The gateway is live while it responds, and ready when its mode is; otherwise /readyz says why not."""
    greeter = ScriptedGreeter(unready="reading the pool")
    async with gateway(greeter) as client:
        assert (await client.ask("GET", "/healthz")).status == 200
        answer = await client.ask("GET", "/readyz")
        assert (answer.status, answer.text) == (503, "reading the pool\n")
        greeter.problem = None
        assert (await client.ask("GET", "/readyz")).status == 200


async def test_metrics_count_requests_by_status() -> None:
    """Requests of callers are counted and timed; probes and scrapes are not."""
    async with gateway(ScriptedGreeter()) as client:
        for _ in range(2):
            await client.greet()
        await client.greet(b"{}")
        await client.ask("GET", "/greet")
        await client.ask("GET", "/readyz")
        client.metrics.called(grpc.StatusCode.OK)
        scrape = await client.ask("GET", "/metrics")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(scrape.text)
        for sample in family.samples
    }
    assert samples["greet_gateway_requests_total", "200"] == 2
    assert samples["greet_gateway_requests_total", "422"] == 1
    assert samples["greet_gateway_requests_total", "405"] == 1
    assert samples[("greet_gateway_request_duration_seconds_count",)] == 4
    assert samples["greet_gateway_backend_calls_total", "OK"] == 1


async def test_stopping_gateway_serves_until_its_callers_have_left() -> None:
    """A draining gateway is unready, still serves, and closes connections; calls in flight finish."""
    greeter = ScriptedGreeter()
    async with asyncio.TaskGroup() as group:
        running = gateway(greeter, drain=0.3)
        client = await running.__aenter__()
        assert "Connection" not in (await client.greet()).headers
        held = greeter.held = asyncio.Event()
        greeter.called.clear()
        under_way = group.create_task(client.greet())
        await greeter.called.wait()
        stopping = group.create_task(running.__aexit__(None, None, None))
        await readiness(client, 503)
        greeter.held = None
        late = await client.greet()
        assert (late.status, late.headers["Connection"]) == (200, "close")
        await asyncio.sleep(0.4)
        assert not stopping.done()
        held.set()
        assert (await under_way).status == 200


async def readiness(client: Client, status: int) -> None:
    async with asyncio.timeout(5):
        while (await client.ask("GET", "/readyz")).status != status:
            await asyncio.sleep(0.01)


async def test_taken_port_is_a_settings_error() -> None:
    """The error for a port in use names the variable of the port."""
    registry = CollectorRegistry()
    with socket.create_server((LOOPBACK, 0)) as taken:
        settings = GatewaySettings(host=LOOPBACK, port=taken.getsockname()[1])
        with pytest.raises(SettingsError, match=f"GATEWAY_PORT {settings.port} .* set a free port"):
            async with serving(settings, ScriptedGreeter(), GatewayMetrics(registry), registry):
                pass

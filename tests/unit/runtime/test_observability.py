"""Health and metrics over HTTP."""

import asyncio
import socket

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from backendpool.errors import SettingsError
from backendpool.runtime.logs import configure_logging
from backendpool.runtime.observability import new_registry, serve

LOOPBACK = "127.0.0.1"


def fine() -> None:
    return None


async def get(port: int, path: str, accept: str = "*/*") -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{LOOPBACK}:{port}{path}", headers={"Accept": accept}) as response,
    ):
        return response.status, response.headers["Content-Type"], await response.text()


async def test_fine_checks_answer_200() -> None:
    """With passing checks, both paths return 200."""
    async with serve(0, CollectorRegistry(), fine, fine, host=LOOPBACK) as port:
        assert (await get(port, "/healthz"))[::2] == (200, "ok\n")
        assert (await get(port, "/readyz"))[::2] == (200, "ok\n")


async def test_failed_check_answers_503_with_its_sentence() -> None:
    """A failing check returns 503 with its message, for readiness and liveness separately."""
    not_ready = "not synced yet"
    async with serve(0, CollectorRegistry(), fine, lambda: not_ready, host=LOOPBACK) as port:
        assert (await get(port, "/healthz"))[0] == 200
        assert (await get(port, "/readyz"))[::2] == (503, "not synced yet\n")


async def test_check_is_asked_at_each_request() -> None:
    """Checks run at each request."""
    problems: list[str | None] = ["starting", None]
    async with serve(0, CollectorRegistry(), fine, lambda: problems.pop(0), host=LOOPBACK) as port:
        assert [(await get(port, "/readyz"))[0] for _ in range(2)] == [503, 200]


async def test_metrics_show_the_given_registry_only() -> None:
    """/metrics exports only the given registry."""
    registry = CollectorRegistry()
    Counter("calls", "Calls.", registry=registry).inc(3)
    async with serve(0, registry, fine, fine, host=LOOPBACK) as port:
        status, content_type, text = await get(port, "/metrics")
    assert status == 200
    assert content_type.startswith("text/plain; version=")
    assert "calls_total 3.0" in text
    assert "python_info" not in text


async def test_metrics_speak_openmetrics_when_asked() -> None:
    """OpenMetrics is returned to scrapers that prefer it."""
    async with serve(0, CollectorRegistry(), fine, fine, host=LOOPBACK) as port:
        _, content_type, text = await get(port, "/metrics", "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")


async def test_taken_port_is_a_settings_error() -> None:
    """A port in use is a settings error that names its variable."""
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"METRICS_PORT {port} is not available .* set a free port"):
            async with serve(port, CollectorRegistry(), fine, fine, host=LOOPBACK):
                pass


async def test_port_is_free_again_afterwards() -> None:
    """Leaving the context closes the server."""
    async with serve(0, CollectorRegistry(), fine, fine, host=LOOPBACK) as port:
        pass
    with pytest.raises(aiohttp.ClientConnectionError):
        await get(port, "/healthz")


def test_new_registry_has_the_process_figures() -> None:
    """A new registry exports CPU and memory of the process."""
    names = {family.name for family in new_registry().collect()}
    assert {"process_resident_memory_bytes", "process_cpu_seconds", "python_info"} <= names


@pytest.mark.parametrize("junk", [b"no header", b"A: " + b"a" * 9000], ids=["no header", "over 8 KiB"])
async def test_malformed_requests_do_not_fill_the_log(junk: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """A malformed request gets a 400 and is not logged; our own errors are."""
    configure_logging()
    async with serve(0, CollectorRegistry(), fine, lambda: str(1 / 0), host=LOOPBACK) as port:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(b"GET /healthz HTTP/1.1\r\n" + junk + b"\r\n\r\n")
        assert b" 400 Bad Request\r\n" in await asyncio.wait_for(reader.read(), 5)
        writer.close()
        await writer.wait_closed()
        assert capsys.readouterr().err == ""
        assert (await get(port, "/readyz"))[0] == 500
        assert "ZeroDivisionError" in capsys.readouterr().err

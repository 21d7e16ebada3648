"""The load generator against a gateway in the same process."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import Any

import aiohttp
import pytest

from backendpool.errors import NoBackendError
from greet.callers import reached
from greet.greet_pb2 import GreetingRequest, GreetingResponse
from greet.load import LoadSettings, run
from tests.fakes.until import until
from tests.unit.greet.gateways import LOOPBACK, ScriptedGreeter, gateway
from tests.unit.greet.servers import free_port


class Pods(ScriptedGreeter):
    """Greets as two pods, one after the other; or raises ``failure``."""

    async def greet(self, request: GreetingRequest, timeout: float) -> GreetingResponse:
        await super().greet(request, timeout)
        return GreetingResponse(Result=f"Hello, from pod: name(pod-{len(self.timeouts) % 2}), ip(192.0.2.1).")


def settings(port: int, **more: Any) -> LoadSettings:
    return LoadSettings(f"http://{LOOPBACK}:{port}/greet", **more)


async def test_calls_are_counted_by_pod() -> None:
    """The summary has the number of calls and the first answer of each pod, and the latencies."""
    lines: list[dict[str, Any]] = []
    async with gateway(Pods()) as client:
        tally = await run(settings(client.port, calls=10), lines.append)
    summary = lines[-1]["summary"]
    assert (summary["ok"], summary["failed"], summary["pods"]) == (10, 0, {"pod-0": 5, "pod-1": 5})
    assert summary["first_answer"].keys() == summary["pods"].keys()
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p100"]
    assert summary == tally.summary()


async def test_failures_are_counted_by_what_was_said() -> None:
    """An error response, an answer without a pod name, and a refused connection are counted as different errors."""
    async with gateway(Pods(NoBackendError("none there"))) as client:
        refused = await run(settings(client.port, calls=3), print)
    unreachable = await run(settings(client.port, calls=1), print)
    async with gateway(ScriptedGreeter()) as client:
        nameless = await run(settings(client.port, calls=1), print)
    ((problem, count),) = refused.errors.items()
    assert problem.startswith("503 ")
    assert "none there" in problem
    assert count == 3
    assert nameless.errors == {"answer without a pod name": 1}
    assert next(iter(unreachable.errors)).startswith("ClientConnectorError: ")


async def test_gateway_is_waited_for() -> None:
    """The load starts when the gateway accepts connections, or when the maximum wait is over."""
    port = free_port()
    url = f"http://{LOOPBACK}:{port}/greet"
    await reached(url, 0.3)
    waiting = asyncio.create_task(reached(url, 10))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    async with await asyncio.start_server(lambda _, writer: writer.close(), LOOPBACK, port):
        await asyncio.wait_for(waiting, 5)


async def test_name_that_is_not_known_yet_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed DNS lookups are retried within a call and not counted as errors; the address is then cached."""
    asked: list[str] = []

    async def lookup(self: aiohttp.ThreadedResolver, host: str, port: int, family: int) -> list[dict[str, Any]]:
        asked.append(host)
        if len(asked) < 3:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        place = {"hostname": host, "host": LOOPBACK, "port": port, "proto": 0}
        return [place | {"family": socket.AF_INET, "flags": socket.AI_NUMERICHOST}]

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", lookup)
    async with gateway(Pods()) as client:
        tally = await run(LoadSettings(f"http://gateway.test:{client.port}/greet", calls=10), print)
    assert (tally.pods.total(), tally.errors.total()) == (10, 0)
    assert asked == ["gateway.test"] * 3


async def test_rate_is_kept_while_answers_wait() -> None:
    """Calls start at the fixed rate even if earlier calls still wait, and each interval prints a line."""
    greeter = Pods()
    greeter.held = asyncio.Event()
    lines: list[dict[str, Any]] = []
    async with gateway(greeter) as client, asyncio.TaskGroup() as group:
        load = group.create_task(run(settings(client.port, rate=200, calls=40, interval=0.05), lines.append))
        await until(lambda: len(greeter.timeouts) >= 40)
        greeter.held.set()
        assert (await load).pods.total() == 40
    assert len(lines) > 2
    assert all(line.keys() == {"time", "pods", "errors", "waiting"} for line in lines[:-1])
    assert max(line["waiting"] for line in lines[:-1]) > 0


async def test_load_that_is_asked_to_end_sums_up() -> None:
    """SIGTERM ends an unlimited load: calls in flight finish, and the summary includes them."""
    greeter = Pods()
    lines: list[dict[str, Any]] = []
    async with gateway(greeter) as client, asyncio.TaskGroup() as group:
        load = group.create_task(run(settings(client.port, rate=0.1), lines.append))
        await greeter.called.wait()
        signal.raise_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            await load
    assert lines[-1]["summary"]["ok"] == 1

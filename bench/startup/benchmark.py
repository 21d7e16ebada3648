"""Measures the start of each program."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from bench.common.command_line import say
from bench.common.processes import cpu_of, free_port, memory_of, stop
from bench.startup import api_server

SERVERS: Final = ("server", "lookaside")
CLIENTS: Final = ("channel", "client")


@dataclass(frozen=True, slots=True)
class Start:
    """The cost of a start: CPU seconds until ready, resident MB when idle, longest blocking of a client's event loop in
    seconds.
    """

    cpu: float
    memory: float
    stall: float = 0.0


Results = Mapping[str, Sequence[Start]]
"""By program, in the order of the rounds."""


async def measure(rounds: int, idle: float = 1.0) -> Results:
    """Start each program once per round; memory is read after ``idle`` seconds."""
    found: dict[str, list[Start]] = {name: [] for name in (*SERVERS, *CLIENTS)}
    with tempfile.TemporaryDirectory(prefix="backendpool-bench-") as folder:
        async with api_server.serving(Path(folder)) as pod:
            for number in range(-1, rounds):
                say(f"round {number + 1} of {rounds}")
                for name, starts in found.items():
                    start = await (_server if name in SERVERS else _client)(name, pod, idle)
                    if number >= 0:  # the one before makes the byte code
                        starts.append(start)
    return found


async def _server(name: str, pod: Mapping[str, str], idle: float) -> Start:
    port = free_port()
    async with _process(name, pod, METRICS_PORT=str(port), LOOKASIDE_PORT=str(free_port())) as process:
        while not await _ready(port):
            if process.returncode is not None:
                raise RuntimeError(f"{name} exited with status {process.returncode}")
            await asyncio.sleep(0.02)
        cpu = cpu_of(process.pid)
        await asyncio.sleep(idle)
        return Start(cpu, memory_of(process.pid))


async def _ready(port: int) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/readyz") as response:
            return response.status == 200
    except aiohttp.ClientConnectionError:
        return False


async def _client(name: str, pod: Mapping[str, str], idle: float) -> Start:
    async with _process(name, pod) as process:
        assert process.stdout is not None
        stall = float(await process.stdout.readline())
        cpu = cpu_of(process.pid)
        await asyncio.sleep(idle)
        return Start(cpu, memory_of(process.pid), stall)


@asynccontextmanager
async def _process(name: str, pod: Mapping[str, str], **env: str) -> AsyncIterator[asyncio.subprocess.Process]:
    pool = {"POOL_NAMESPACE": api_server.FLEET.namespace, "POOL_NAME": api_server.POOL, "LOG_LEVEL": "warning"}
    # As in an image, where all byte code is there.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.startup.programs", name),
        env={**inherited, **pod, **pool, **env},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        await stop(process)


def table(results: Results) -> str:
    """Return the report in Markdown. CPU and blocking are the minimum of all rounds, since other processes only add to
    them.
    """
    lines = [
        "| start | CPU, s | resident, MB | event loop blocked, ms |",
        "|---|---:|---:|---:|",
        *(_row(name, starts) for name, starts in results.items()),
    ]
    return "\n".join(lines)


def _row(name: str, starts: Sequence[Start]) -> str:
    cpu = min(one.cpu for one in starts)
    memory = statistics.median(one.memory for one in starts)
    stall = f"{1e3 * min(one.stall for one in starts):.0f}" if name in CLIENTS else ""
    return f"| {name} | {cpu:.2f} | {memory:.0f} | {stall} |"

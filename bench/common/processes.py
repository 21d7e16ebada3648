"""The operator and the lookaside as local processes, and their CPU, memory and metrics."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

_COMMAND = Path(sys.executable).with_name("backendpool")
_STOP_SECONDS = 15.0
_LOG_LINES = 20


@dataclass(frozen=True, slots=True)
class Usage:
    """What a program has used since its start: CPU seconds, API requests by verb, status writes."""

    cpu: float
    requests: Counter[str]
    status_writes: int

    def __sub__(self, before: Usage) -> Usage:
        return Usage(self.cpu - before.cpu, self.requests - before.requests, self.status_writes - before.status_writes)


@dataclass(frozen=True, slots=True)
class Program:
    """A running ``backendpool`` command; ``begun`` is its start on the event loop's clock."""

    process: asyncio.subprocess.Process
    port: int
    begun: float

    def cpu(self) -> float:
        """Return the CPU seconds since the start."""
        return cpu_of(self.process.pid)

    def peak_memory(self) -> float:
        """Return the peak resident memory in MB."""
        return memory_of(self.process.pid, "VmHWM")

    async def figure(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of a metric that have ``labels``; 0 if there are none."""
        return sum(value for have, value in await self._samples(name) if labels.items() <= have.items())

    async def usage(self) -> Usage:
        """Return the CPU time, API requests and status writes since the process started."""
        requests: Counter[str] = Counter()
        for labels, value in await self._samples("backendpool_api_requests_total"):
            requests[labels["verb"]] += int(value)
        writes = await self.figure("backendpool_status_writes_total")
        return Usage(self.cpu(), requests, int(writes))

    async def _samples(self, name: str) -> list[tuple[Mapping[str, str], float]]:
        url = f"http://127.0.0.1:{self.port}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            text = await response.text()
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return [(sample.labels, sample.value) for sample in samples if sample.name == name]


@asynccontextmanager
async def running(command: str, env: Mapping[str, str], folder: Path, profile: Path | None) -> AsyncIterator[Program]:
    """Run ``backendpool <command>`` with ``env`` within the context; yields when its metrics port answers.

    Its log goes to ``folder``, and its cProfile to ``profile``, if given.
    """
    port = free_port()
    log = folder / f"{command}.log"
    profiled = [sys.executable, "-m", "cProfile", "-o", str(profile)] if profile else []
    begun = asyncio.get_running_loop().time()
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *profiled, str(_COMMAND), command, env={**os.environ, **env, "METRICS_PORT": str(port)}, stderr=stderr
        )
    try:
        program = Program(process, port, begun)
        await _answers(program, log)
        yield program
    finally:
        await stop(process)


def cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process since its start."""
    # As clock_getcpuclockid(3) makes them: to the nanosecond, where /proc has ticks of 10 ms.
    return time.clock_gettime(~pid << 3 | 2)


def memory_of(pid: int, figure: str = "VmRSS") -> float:
    """Return the resident memory of a process in MB, or another field of /proc/PID/status."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = next(line for line in status.splitlines() if line.startswith(f"{figure}:"))
    return int(found.split()[1]) * 1024 / 1e6


def free_port() -> int:
    """Return a port that is currently free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _answers(program: Program, log: Path) -> None:
    while True:
        try:
            await program.figure("up")
        except aiohttp.ClientConnectionError:
            if program.process.returncode is not None:
                raise RuntimeError(
                    f"backendpool exited with status {program.process.returncode}:\n{_end_of(log)}"
                ) from None
            await asyncio.sleep(0.05)
        else:
            return


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text().splitlines()[-_LOG_LINES:])


async def stop(process: asyncio.subprocess.Process) -> None:
    """Terminate the process; kill it if it does not exit in time."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()

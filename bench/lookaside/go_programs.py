"""The Go programs of the lookaside benchmark: xDS clients, Resolve load, and the baseline control plane."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, Self

from tools.cluster import ClusterError

_SOURCES = Path(__file__).parent / "go"
_LONGEST_WAIT = 300.0


@cache
def built() -> Path:
    """Build the programs from go/ and return their folder; Go caches builds."""
    go = shutil.which("go")
    if go is None:
        raise ClusterError("the clients and the baseline are programs in Go", hint="install Go, then run this again")
    folder = Path(tempfile.gettempdir()) / "backendpool-bench-xds"
    folder.mkdir(exist_ok=True)
    subprocess.run([go, "build", "-trimpath", "-o", f"{folder}/", "./..."], cwd=_SOURCES, check=True)
    return folder


class Streams:
    """xDS clients of one pool; created by :meth:`opened`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    @asynccontextmanager
    async def opened(cls, port: int, size: int, name: str) -> AsyncIterator[Self]:
        """Open ``size`` streams to ``port`` for the pool ``name``; yields when each has received a response."""
        flags = [f"-target=127.0.0.1:{port}", f"-streams={size}", f"-name={name}"]
        async with _running("streams", *flags) as process:
            streams = cls(process)
            await streams._answer()
            yield streams

    async def expect(self, address: str) -> None:
        """Start waiting for an update that contains ``address``."""
        await self._ask(f"expect {address}")

    async def told(self) -> float:
        """Return the unix time at which the last stream received the expected update."""
        return float((await self._answer())["last"])

    async def reconnect(self) -> float:
        """Close and reopen all connections; return the seconds until each stream has a response."""
        return float((await self._ask("reconnect"))["connected"])

    async def _ask(self, command: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        await self._process.stdin.drain()
        return await self._answer()

    async def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        async with asyncio.timeout(_LONGEST_WAIT):
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the clients exited unexpectedly: their output is above")
        answer: dict[str, Any] = json.loads(line)
        return answer


async def resolving(port: int, namespace: str, pool: str, seconds: float) -> int:
    """Call Resolve as fast as possible for ``seconds``; return the number of responses."""
    flags = [f"-target=127.0.0.1:{port}", f"-namespace={namespace}", f"-pool={pool}", f"-seconds={seconds}"]
    async with _running("resolve", *flags) as process:
        printed, _ = await process.communicate()
    return int(json.loads(printed)["answered"])


@asynccontextmanager
async def serving_baseline(
    kubeconfig: str, context: str, namespace: str, service: str, port: int
) -> AsyncIterator[int]:
    """Run the baseline; yield its process id."""
    where = [f"-kubeconfig={kubeconfig}", f"-context={context}", f"-namespace={namespace}", f"-service={service}"]
    async with _running("baseline", *where, f"-port={port}") as process:
        assert process.stdout is not None
        if not await process.stdout.readline():
            raise RuntimeError("the baseline ended: see above")
        yield process.pid


@asynccontextmanager
async def _running(program: str, *flags: str) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(str(built() / program), *flags, stdin=pipe, stdout=pipe)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()

"""Backends for the client's benchmark: one server process that listens on every loopback address.

To a client, each address is a separate backend with its own connection, like a pod. The server's CPU time is not
counted.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from backendpool.api.endpoints import Endpoint

SERVICE: Final = "bench.Echo"
UNARY: Final = f"/{SERVICE}/Unary"
STREAM: Final = f"/{SERVICE}/Stream"
MESSAGES: Final = 10
"""Responses of a streamed call."""

NAMESPACE: Final = "bench"
POOL: Final = "backends"
"""The pool under which the lookaside on the same port lists the backends."""

_PER_NETWORK = 250


def endpoints(count: int, port: int) -> list[Endpoint]:
    """Return ``count`` endpoints of the server that listens on ``port``."""
    return [Endpoint(_address(number), port, f"uid-{number}", f"pod-{number}") for number in range(count)]


@asynccontextmanager
async def serving(count: int) -> AsyncIterator[int]:
    """Run the server within the context and yield its port; its lookaside lists ``count`` backends."""
    command = [sys.executable, "-m", "bench.client.backend_server", str(count)]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.stdin.close()
        await process.wait()


def _address(number: int) -> str:
    return f"127.1.{number // _PER_NETWORK}.{number % _PER_NETWORK + 1}"

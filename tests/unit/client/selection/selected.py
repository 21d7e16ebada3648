"""A selection over backends without connections, and calls that end on request."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc import StatusCode
from grpc.aio import Metadata

from backendpool.api.endpoints import Endpoint
from backendpool.api.load_balancing import FailurePercentage, LoadBalancing, OutlierDetection
from backendpool.client._options import DEFAULT, Options
from backendpool.client._outcome import FinishedCall
from backendpool.client._policies.load_report import TRAILER
from backendpool.client._selection import PERIOD, Selection
from backendpool.client._subchannel import Connection, Subchannel
from tests.fakes.clock import FakeClock

OUTLIERS = OutlierDetection(
    interval=10, base_ejection=30, failure_percentage=FailurePercentage(threshold=50, minimum_hosts=3, request_volume=5)
)


class Call(FinishedCall):
    """A call that has ended, with an optional trailer."""

    __slots__ = ("_trailer",)

    def __init__(self, code: StatusCode = StatusCode.OK, trailer: bytes | None = None) -> None:
        super().__init__(code, "")
        self._trailer = trailer

    async def trailing_metadata(self) -> Metadata:
        return Metadata() if self._trailer is None else Metadata((TRAILER, self._trailer))


class Held(Call):
    """A call in flight until the test ends it."""

    __slots__ = ("_callbacks",)

    def add_done_callback(self, callback: Any) -> None:
        self._callbacks = [callback]

    def end(self) -> None:
        for callback in self._callbacks:
            callback(self)


@asynccontextmanager
async def backends(*zones: str) -> AsyncIterator[tuple[Subchannel, ...]]:
    """Return backends that look connected, one for each of ``zones``, named by position."""

    def dial(endpoint: Endpoint) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel("ipv4:127.0.0.1:1")

    made = tuple(
        Subchannel(Endpoint("127.0.0.1", 1, str(place), zone=zone), lambda _: None, dial, delay=3600)
        for place, zone in enumerate(zones)
    )
    for backend in made:
        backend.connection = Connection.CONNECTED
    yield made
    await asyncio.gather(*(backend.close(0) for backend in made))


class Selected:
    """A selection over ``backends`` on a manual clock."""

    def __init__(self, backends: tuple[Subchannel, ...], balancing: LoadBalancing, options: Options = DEFAULT) -> None:
        self.clock = FakeClock(time.monotonic())
        self.selection = Selection("ns/who", options, self.clock)
        self.selection.configure(balancing)
        self.selection.replace(backends)

    def shares(self, calls: int, key: bytes | None = None) -> Counter[str]:
        """Return how often each backend is picked."""
        return Counter(self.selection.pick((), key).endpoint.pod_uid for _ in range(calls))

    def call(self, backend: Subchannel, code: StatusCode = StatusCode.OK, times: int = 1, **more: Any) -> None:
        for _ in range(times):
            ended: Any = Call(code, **more)
            backend.track(ended)

    def passes(self, seconds: float) -> None:
        """Let time pass, with the ticks that are due."""
        for _ in range(int(seconds / PERIOD)):
            self.clock.now += PERIOD
            self.selection.tick()


def near(counts: Counter[str], expected: dict[str, float]) -> bool:
    """Return whether shares differ from the expected ones by less than a tenth of the total."""
    total = counts.total()
    return all(abs(counts[name] / total - part) < 0.1 for name, part in expected.items())

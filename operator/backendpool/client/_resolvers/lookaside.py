"""Resolver of ``lookaside://``: ``backendpool.v1.Endpoints/Watch``, which needs no permission to read pools."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, NoReturn

import grpc.aio
from grpc import StatusCode

from backendpool.api.pool import PoolView
from backendpool.api.protobuf import endpoints_of, view_of
from backendpool.client._resolvers.resolver import FreshnessTracker, OnView
from backendpool.client._subchannel import CHANNEL_OPTIONS
from backendpool.client._target import LookasideTarget
from backendpool.errors import LookasideError, SpecError
from backendpool.proto.v1.endpoints_pb2 import EndpointSet, WatchRequest
from backendpool.proto.v1.endpoints_pb2_grpc import EndpointsStub
from backendpool.runtime.backoff import OutageLog, max_backoff
from backendpool.runtime.clock import since_boot
from backendpool.runtime.logs import FieldLogger

log = logging.getLogger(__name__)

# A headless Service resolves to all replicas. Without the shuffle all clients would choose the same one (gRFC A62).
_SHUFFLED: Final = json.dumps({"loadBalancingConfig": [{"pick_first": {"shuffleAddressList": True}}]})
_OPTIONS: Final = (*CHANNEL_OPTIONS, ("grpc.service_config", _SHUFFLED))


@dataclass(frozen=True, slots=True)
class LookasideTiming:
    """Timing of the streams, in seconds.

    A stream that is silent for ``idle_timeout`` is abandoned; the lookaside sends a heartbeat every 10 s. One that
    brought a message and lived for ``healthy_after`` may end without counting as a failure. Reconnects wait for an
    exponential backoff from ``backoff`` to ``longest_backoff``, with full jitter.
    """

    idle_timeout: float = 35.0
    healthy_after: float = 5.0
    backoff: float = 0.5
    longest_backoff: float = 5.0
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    jitter: Callable[[float, float], float] = random.uniform

    def pause(self, failures: int) -> float:
        """Return the seconds to wait after ``failures`` failures in a row."""
        return self.jitter(0.0, max_backoff(failures, self.backoff, self.longest_backoff))


class LookasideResolver:
    """Follows the pool of ``target`` at its lookaside, in plaintext unless ``credentials`` are given.

    The last view stays in effect while no lookaside answers. NOT_FOUND is reported as None at the start and ignored
    later, since a pool that is deleted takes its lookaside with it.

    Each stream has its own connection, to an address that DNS returns at that time: after a stream has ended (the
    server stops, the connection gets old) or was idle for too long, the next one may reach another replica. The age of
    the lookaside's own view is added to ours.
    """

    def __init__(
        self,
        target: LookasideTarget,
        on_view: OnView,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        timing: LookasideTiming = LookasideTiming(),
    ) -> None:
        self.problem: LookasideError | None = None
        self._target = target
        self._credentials = credentials
        self._timing = timing
        self._freshness = FreshnessTracker(on_view)
        self._log = FieldLogger(log, pool=target.pool, target=target)
        self._outage = OutageLog(
            self._log, "Lookaside watch failed, retrying", "Lookaside watch recovered", timing.healthy_after
        )
        self._answered = False  # by the current stream

    def age(self) -> float:
        """As :meth:`Resolver.age`. The age of the lookaside's own data is included."""
        return self._freshness.age()

    async def run(self) -> NoReturn:
        """Follow the pool until cancelled."""
        while True:
            begun, self._answered = since_boot(), False
            end = await self._attempt()
            if not self._answered or since_boot() - begun < self._timing.healthy_after:
                self._failed(end)
            await self._timing.sleep(self._timing.pause(max(self._outage.failures, 1)))

    async def _attempt(self) -> LookasideError:
        """Run one stream; return how it ended. Every stream ends: connections get old, and servers stop."""
        try:
            async with self._channel() as channel:
                await self._watch(channel)
        except grpc.aio.AioRpcError as error:
            return LookasideError(error.code().name, error.details() or "")
        except TimeoutError:
            return LookasideError(
                StatusCode.DEADLINE_EXCEEDED.name, f"the stream was silent for {self._timing.idle_timeout:g} s"
            )
        return LookasideError(StatusCode.OK.name, "the stream ended immediately")

    def _channel(self) -> grpc.aio.Channel:
        if self._credentials is None:
            return grpc.aio.insecure_channel(self._target.uri, options=_OPTIONS)
        return grpc.aio.secure_channel(self._target.uri, self._credentials, options=_OPTIONS)

    async def _watch(self, channel: grpc.aio.Channel) -> None:
        request = WatchRequest(namespace=self._target.namespace, service=self._target.name)
        messages = aiter(EndpointsStub(channel).Watch(request))
        while True:
            async with asyncio.timeout(self._timing.idle_timeout):
                message = await anext(messages, None)
            if message is None:
                return
            self._receive(message)

    def _receive(self, message: EndpointSet) -> None:
        age = message.age.ToNanoseconds() / 1e9
        if message.unchanged:
            self._freshness.confirm(age)
        else:
            self._freshness.update(self._read(message), age)
        self.problem, self._answered = None, True
        self._outage.record_success()

    def _read(self, message: EndpointSet) -> PoolView:
        """Parse a view; use the default policies if a newer lookaside sends ones that this version does not know."""
        try:
            return view_of(message)
        except SpecError as error:
            self._log.warning("Spec cannot be parsed, using the default policies", extra={"error": error})
            return PoolView(endpoints_of(message))

    def _failed(self, error: LookasideError) -> None:
        self.problem = error
        self._outage.record_failure(error)
        if error.status == StatusCode.NOT_FOUND.name:
            self._freshness.not_found()

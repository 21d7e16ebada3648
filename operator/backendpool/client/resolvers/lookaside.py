"""The pool as its lookaside tells it, by ``backendpool.v1.Endpoints/Watch``: no right to read pools is needed."""

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
from backendpool.client.resolvers.resolver import Knowledge, OnView
from backendpool.client.subchannel import CHANNEL_OPTIONS
from backendpool.client.target import LookasideTarget
from backendpool.errors import LookasideError, SpecError
from backendpool.proto.v1.endpoints_pb2 import EndpointSet, WatchRequest
from backendpool.proto.v1.endpoints_pb2_grpc import EndpointsStub
from backendpool.runtime.backoff import longest_pause
from backendpool.runtime.clock import since_boot
from backendpool.runtime.outage_log import Outage

log = logging.getLogger(__name__)

# A headless Service names all replicas. Clients that took the first one would all be on the same (gRFC A62).
_SHUFFLED: Final = json.dumps({"loadBalancingConfig": [{"pick_first": {"shuffleAddressList": True}}]})
_OPTIONS: Final = (*CHANNEL_OPTIONS, ("grpc.service_config", _SHUFFLED))


@dataclass(frozen=True, slots=True)
class LookasideTiming:
    """All in seconds.

    ``stall`` is how long a stream may be silent: the lookaside sends a heartbeat every 10 s. ``settled`` is how long
    one must live, and have told something, for its end to be no failure. The next one comes after a pause of up to
    ``backoff``, and after failures in a row of up to twice that, and so on up to ``longest_backoff``, with full jitter.
    """

    stall: float = 35.0
    settled: float = 5.0
    backoff: float = 0.5
    longest_backoff: float = 5.0
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    jitter: Callable[[float, float], float] = random.uniform

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        return self.jitter(0.0, longest_pause(failures, self.backoff, self.longest_backoff))


class LookasideSource:
    """Tells ``on_view`` the pool of ``target``; over TLS with ``credentials``, in clear without.

    Nothing is told as long as nothing is known. What was told last then stands while no lookaside answers. One that
    does not know the pool (NOT_FOUND) is an answer at the start, told as None, and changes nothing later: a pool that
    is deleted takes its lookaside with it.

    Each stream has a connection of its own, to an address that DNS has then: one that was ended, because its server
    stops or its connection got old, or that is silent for too long, goes on at another replica where there is one.
    A lookaside whose own view is old makes ours as old.
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
        self._known = Knowledge(on_view)
        begin, end = f"{target} cannot be followed", f"following {target} again"
        self._outage = Outage(log, begin, end, timing.settled)
        self._heard = False  # from the stream at hand

    def age(self) -> float:
        """Seconds since what was told was last known to be current, infinite before the first answer."""
        return self._known.age()

    async def run(self) -> NoReturn:
        """Follow the pool until cancelled; an error of the lookaside never ends it."""
        while True:
            begun, self._heard = since_boot(), False
            end = await self._attempt()
            if not self._heard or since_boot() - begun < self._timing.settled:
                self._failed(end)
            await self._timing.sleep(self._timing.pause(max(self._outage.failures, 1)))

    async def _attempt(self) -> LookasideError:
        """One stream; returns how it ended. No stream lasts: connections get old, and servers stop."""
        try:
            async with self._channel() as channel:
                await self._follow(channel)
        except grpc.aio.AioRpcError as error:
            return LookasideError(error.code().name, error.details() or "")
        except TimeoutError:
            return LookasideError(StatusCode.DEADLINE_EXCEEDED.name, f"nothing came for {self._timing.stall:g} s")
        return LookasideError(StatusCode.OK.name, "the stream was ended as soon as it had begun")

    def _channel(self) -> grpc.aio.Channel:
        if self._credentials is None:
            return grpc.aio.insecure_channel(self._target.uri, options=_OPTIONS)
        return grpc.aio.secure_channel(self._target.uri, self._credentials, options=_OPTIONS)

    async def _follow(self, channel: grpc.aio.Channel) -> None:
        request = WatchRequest(namespace=self._target.namespace, service=self._target.name)
        messages = aiter(EndpointsStub(channel).Watch(request))
        while True:
            async with asyncio.timeout(self._timing.stall):
                message = await anext(messages, None)
            if message is None:
                return
            self._take(message)

    def _take(self, message: EndpointSet) -> None:
        age = message.age.ToNanoseconds() / 1e9
        if message.unchanged:
            self._known.confirm(age)
        else:
            self._known.learn(self._read(message), age)
        self.problem, self._heard = None, True
        self._outage.worked()

    def _read(self, message: EndpointSet) -> PoolView:
        """Endpoints are worth following also where a newer lookaside tells policies that this version cannot read."""
        try:
            return view_of(message)
        except SpecError as error:
            log.warning("%s: taking the default policies, for %s", self._target, error)
            return PoolView(endpoints_of(message))

    def _failed(self, error: LookasideError) -> None:
        self.problem = error
        self._outage.failed(error)
        if error.status == StatusCode.NOT_FOUND.name:
            self._known.miss()

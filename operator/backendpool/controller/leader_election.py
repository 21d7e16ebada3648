"""Which of several operators may write: a Lease that is held, watched and given back.

The Lease (coordination.k8s.io/v1) is the field's own way, and the rules are those of client-go's leader election:
a candidate takes the Lease when the holder gave it back, or has not renewed it for the Lease's duration since the
candidate *saw* the last renewal. Clocks are never compared across machines: each side measures the duration on its
own, which nobody sets and which goes on in a suspended machine, the holder from before it sent the renewal, a
candidate from after it saw it, so the holder always stops first.

What kopf's peering and the clients' leader election lack is the fence: :meth:`Elector.writing` stands around each
write, and lets none be sent that might arrive when the Lease has ended. A process that was paused past its Lease
therefore never writes again; it ends. Nor is the Lease given back while a write that nobody answered may be under way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from backendpool.controller.lease import Claim, LeaseLock
from backendpool.errors import ClusterError, Conflict, LeadershipLost, NotFound, NotLeading
from backendpool.k8s.client import Api
from backendpool.k8s.reflector import Change, Reflector, ReflectorTiming
from backendpool.k8s.resources import LEASES
from backendpool.runtime.clock import since_boot

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ElectionTiming:
    """All in seconds.

    ``duration`` is how long a Lease holds from its last renewal, which is tried each ``renewal``, and after a failure
    each ``retry``. A write is sent only while the Lease holds for another ``arrival``: the longest that a request
    may be under way. A watch on the Lease that says nothing for ``stall``, in which three renewals are due, is
    begun anew: the connection may be dead, and not the holder.
    """

    duration: int = 15
    renewal: float = 2.0
    retry: float = 1.0
    arrival: float = 10.0
    stall: float = 6.0


class Elector:
    """One candidate: ``identity`` must not be used by another process, nor by this one after a restart.

    ``api`` is the elector's own, with a timeout of at most ``timing.arrival`` and without a fence.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        name: str,
        identity: str,
        timing: ElectionTiming = ElectionTiming(),
        clock: Callable[[], float] = since_boot,
    ) -> None:
        self.identity = identity
        self._lock = LeaseLock(api, namespace, name, timing.duration)
        self._timing = timing
        self._clock = clock
        self._changed = asyncio.Event()
        self._claim: Claim | None = None
        self._until = self._in_doubt_until = float("-inf")
        self._view: Reflector[Claim] = Reflector(
            api,
            LEASES,
            self._parse,
            self._on_change,
            namespace=namespace,
            field_selector=f"metadata.name={name}",
            timing=ReflectorTiming(stall=timing.stall),
        )

    @property
    def leading(self) -> bool:
        """Whether the Lease holds, by our own clock."""
        return self._clock() < self._until

    def check(self) -> None:
        """Raises :class:`NotLeading` unless a write that is sent now arrives while the Lease holds."""
        if self._clock() + self._timing.arrival >= self._until:
            raise NotLeading(f"{self.identity} does not hold the Lease {self._lock.name} for long enough to write")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """The fence around the sending of a write: :meth:`check`, and a note of what is left without an answer."""
        self.check()
        arrived = self._clock() + self._timing.arrival
        try:
            yield
        except BaseException:
            self._in_doubt_until = max(self._in_doubt_until, arrived)
            raise

    async def watch(self) -> NoReturn:
        """Follow the Lease; to be run beside :meth:`win` and :meth:`hold`."""
        await self._view.run()

    async def win(self) -> None:
        """Wait until the Lease is ours."""
        await self._view.wait_synced()
        log.info("%s stands by for the Lease %s/%s", self.identity, *self._lock.key)
        while not self.leading:
            self._changed.clear()
            wait = self._claim.free_at(self.identity) - self._clock() if self._claim else 0.0
            if wait > 0:
                await self._change_within(wait)
            elif not await self._take(self._claim):
                await self._change_within(self._timing.retry)
        log.info("%s leads", self.identity)

    async def hold(self) -> NoReturn:
        """Renew the Lease for as long as it can be; raises :class:`LeadershipLost` when it cannot."""
        while True:
            await asyncio.sleep(self._timing.renewal)
            while not await self._renew():
                if not self.leading:
                    raise LeadershipLost(f"{self.identity} could not renew the Lease {self._lock.name} in time")
                await asyncio.sleep(self._timing.retry)

    async def release(self) -> None:
        """Give the Lease back, so that another can take it at once. Nothing may be written after that.

        Where a write may still arrive that was not answered, the Lease is left to end by itself.
        """
        if not self.leading:
            return
        self._until = float("-inf")
        if self._clock() < self._in_doubt_until:
            log.warning("a write may still be under way: the Lease is not given back, and ends by itself")
            return
        try:
            await self._write(holder="")
            log.info("%s gave the Lease back", self.identity)
        except (ClusterError, LeadershipLost) as error:
            log.warning("the Lease could not be given back, and ends by itself: %s", error)

    async def _take(self, claim: Claim | None) -> bool:
        """Try to become the holder; whoever writes first wins, for the write is bound to what was seen."""
        begun = self._clock()
        try:
            await self._lock.take(self.identity, claim)
        except ClusterError as error:
            log.debug("the Lease could not be taken: %s", error)
            if isinstance(error, Conflict):
                await self._look()
            return False
        self._holds_from(begun)
        return True

    async def _look(self) -> None:
        """The Lease is not what the watch has brought of it, and may never bring: read it."""
        try:
            self._claim = self._parse(await self._lock.read())
        except NotFound:
            self._claim = None
        except ClusterError as error:
            log.debug("the Lease could not be read: %s", error)

    async def _renew(self) -> bool:
        """Whether the Lease was renewed; raises :class:`LeadershipLost` where somebody else has it."""
        begun = self._clock()
        if not self.leading:
            # Time passed unseen: the process was paused. Another may lead by now.
            raise LeadershipLost(f"{self.identity} held the Lease {self._lock.name} and let it end")
        try:
            await self._write(self.identity)
        except ClusterError as error:
            log.warning("the Lease could not be renewed, trying on: %s", error)
            return False
        self._holds_from(begun)
        return True

    async def _write(self, holder: str) -> None:
        """Write to the Lease that is ours; raises :class:`LeadershipLost` where it is not any more."""
        try:
            await self._lock.write(holder)
        except (Conflict, NotFound):
            # Somebody touched it, or a renewal of ours arrived that was cut short before its answer.
            await self._reclaim()
            await self._lock.write(holder)

    async def _reclaim(self) -> None:
        """Go on from what the Lease is by now, if that still names us."""
        try:
            lease = await self._lock.read()
        except NotFound:
            raise LeadershipLost(f"the Lease {self._lock.name} was deleted") from None
        if (holder := self._parse(lease).holder) != self.identity:
            raise LeadershipLost(f"the Lease {self._lock.name} was taken by {holder}")
        self._lock.go_on_from(lease)

    def _holds_from(self, begun: float) -> None:
        """Ours from before the request was sent: no candidate can have seen it earlier than that."""
        self._until = begun + self._timing.duration

    async def _change_within(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    def _on_change(self, change: Change[Claim]) -> None:
        self._claim = change.new
        self._changed.set()

    def _parse(self, lease: dict[str, Any]) -> Claim:
        held = self._claim
        if held and held.version == lease["metadata"]["resourceVersion"]:
            return held  # read again, not renewed again
        return self._lock.claim(lease, self._clock())

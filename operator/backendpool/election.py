"""Which of several operators may write: a Lease that is held, watched and given back.

The Lease (coordination.k8s.io/v1) is the field's own way, and the rules are those of client-go's leader election:
a candidate takes the Lease when the holder gave it back, or has not renewed it for the Lease's duration since the
candidate *saw* the last renewal. Clocks are never compared across machines: each side measures the duration on its
own, which nobody sets and which goes on in a suspended machine, the holder from before it sent the renewal, a
candidate from after it saw it, so the holder always stops first.

What kopf's peering and the clients' leader election lack is the fence: :meth:`Elector.check` is asked before each
write is sent, and answers no once the Lease might end before the write arrives. A process that was paused past its
Lease therefore never writes again; it ends.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from backendpool.cluster.api import Api
from backendpool.cluster.reflector import Change, Reflector
from backendpool.cluster.resources import LEASES
from backendpool.errors import ClusterError, Conflict, LeadershipLost, NotFound, NotLeading

log = logging.getLogger(__name__)


_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux stops its monotonic clock in a suspended machine: a leader that slept would find its Lease to hold."""


def _since_boot() -> float:
    """Seconds, of which only differences mean anything."""
    return time.clock_gettime(_CLOCK)


@dataclass(frozen=True, slots=True)
class ElectionTiming:
    """All in seconds.

    ``duration`` is how long a Lease holds from its last renewal, which is tried each ``renewal``, and after a failure
    each ``retry``. A write is sent only while the Lease holds for another ``arrival``: the longest that a request
    may be under way.
    """

    duration: int = 15
    renewal: float = 2.0
    retry: float = 1.0
    arrival: float = 10.0


@dataclass(frozen=True, slots=True)
class Claim:
    """What a Lease says, and ``seen``: when we first saw it say so, on our own clock."""

    holder: str
    duration: int
    transitions: int
    version: str
    seen: float

    def free_at(self) -> float:
        """From when on it may be taken: at once where nobody holds it."""
        return self.seen + self.duration if self.holder else self.seen


class Elector:
    """One candidate: ``identity`` must not be used by another process, nor by this one after a restart.

    ``api`` is the elector's own, with a timeout of at most ``timing.arrival`` and without a guard.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        name: str,
        identity: str,
        timing: ElectionTiming = ElectionTiming(),
        clock: Callable[[], float] = _since_boot,
    ) -> None:
        self.identity = identity
        self._api = api
        self._namespace = namespace
        self._name = name
        self._timing = timing
        self._clock = clock
        self._changed = asyncio.Event()
        self._version = ""
        self._transitions = 0
        self._acquired = ""
        self._until = float("-inf")
        self._lease: Reflector[Claim] = Reflector(
            api, LEASES, self._parse, self._on_change, namespace=namespace, field_selector=f"metadata.name={name}"
        )

    @property
    def leading(self) -> bool:
        """Whether the Lease holds, by our own clock."""
        return self._clock() < self._until

    def check(self) -> None:
        """Raises :class:`NotLeading` unless a write that is sent now arrives while the Lease holds."""
        if self._clock() + self._timing.arrival >= self._until:
            raise NotLeading(f"{self.identity} does not hold the Lease {self._name} for long enough to write")

    async def watch(self) -> NoReturn:
        """Follow the Lease; to be run beside :meth:`win` and :meth:`hold`."""
        await self._lease.run()

    async def win(self) -> None:
        """Wait until the Lease is ours."""
        await self._lease.wait_synced()
        log.info("%s stands by for the Lease %s/%s", self.identity, self._namespace, self._name)
        while not self.leading:
            self._changed.clear()
            claim = self._lease.items.get((self._namespace, self._name))
            wait = claim.free_at() - self._clock() if claim else 0.0
            if wait > 0:
                await self._change_within(wait)
            elif not await self._take(claim):
                await self._change_within(self._timing.retry)
        log.info("%s leads", self.identity)

    async def hold(self) -> NoReturn:
        """Renew the Lease for as long as it can be; raises :class:`LeadershipLost` when it cannot."""
        while True:
            await asyncio.sleep(self._timing.renewal)
            while not await self._renew():
                if not self.leading:
                    raise LeadershipLost(f"{self.identity} could not renew the Lease {self._name} in time")
                await asyncio.sleep(self._timing.retry)

    async def release(self) -> None:
        """Give the Lease back, so that another can take it at once. Nothing may be written after that."""
        if not self.leading:
            return
        self._until = float("-inf")
        try:
            await self._api.replace(LEASES, self._document(holder="", version=self._version))
            log.info("%s gave the Lease back", self.identity)
        except ClusterError as error:
            log.warning("the Lease could not be given back, and ends by itself: %s", error)

    async def _take(self, claim: Claim | None) -> bool:
        """Try to become the holder; whoever writes first wins, for the write is bound to what was seen."""
        begun = self._clock()
        self._transitions = claim.transitions + 1 if claim else 0
        self._acquired = _now()
        try:
            if claim is None:
                answer = await self._api.create(LEASES, self._document(self.identity))
            else:
                answer = await self._api.replace(LEASES, self._document(self.identity, claim.version))
        except ClusterError as error:
            log.debug("the Lease could not be taken: %s", error)
            return False
        self._won(answer, begun)
        return True

    async def _renew(self) -> bool:
        """Whether the Lease was renewed; raises :class:`LeadershipLost` where somebody else has it."""
        begun = self._clock()
        if not self.leading:
            # Time passed unseen: the process was paused. Another may lead by now.
            raise LeadershipLost(f"{self.identity} held the Lease {self._name} and let it end")
        try:
            answer = await self._api.replace(LEASES, self._document(self.identity, self._version))
        except (Conflict, NotFound):
            return await self._reclaim()
        except ClusterError as error:
            log.warning("the Lease could not be renewed, trying on: %s", error)
            return False
        self._won(answer, begun)
        return True

    async def _reclaim(self) -> bool:
        """Somebody wrote to our Lease. If it still names us, go on from there; else it is lost."""
        try:
            lease = await self._api.get(LEASES, self._namespace, self._name)
        except NotFound:
            raise LeadershipLost(f"the Lease {self._name} was deleted") from None
        except ClusterError:
            return False
        if lease["spec"].get("holderIdentity") != self.identity:
            raise LeadershipLost(f"the Lease {self._name} was taken by {lease['spec'].get('holderIdentity')}")
        self._version = lease["metadata"]["resourceVersion"]
        return False

    def _won(self, answer: dict[str, Any], begun: float) -> None:
        """Ours from before the request was sent: no candidate can have seen it earlier than that."""
        self._version = answer["metadata"]["resourceVersion"]
        self._until = begun + self._timing.duration

    async def _change_within(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    def _on_change(self, change: Change[Claim]) -> None:
        self._changed.set()

    def _parse(self, lease: dict[str, Any]) -> Claim:
        held = self._lease.items.get((self._namespace, self._name))
        if held and held.version == lease["metadata"]["resourceVersion"]:
            return held  # read again, not renewed again
        spec = lease.get("spec") or {}
        return Claim(
            holder=spec.get("holderIdentity") or "",
            duration=spec.get("leaseDurationSeconds") or self._timing.duration,
            transitions=spec.get("leaseTransitions") or 0,
            version=lease["metadata"]["resourceVersion"],
            seen=self._clock(),
        )

    def _document(self, holder: str, version: str = "") -> dict[str, Any]:
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {
                "namespace": self._namespace,
                "name": self._name,
                **({"resourceVersion": version} if version else {}),
            },
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": self._timing.duration,
                "leaseTransitions": self._transitions,
                "acquireTime": self._acquired,
                "renewTime": _now(),
            },
        }


def _now() -> str:
    """For people to read: no decision is taken by it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
